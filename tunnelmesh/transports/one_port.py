"""TLS, SSH and plain HTTP on one port, told apart by the first bytes that a client sends.

Whoever connects gets a moment to speak. A TLS ClientHello goes to the web site with its WebSockets,
an SSH version string to the SSH tunnel, and a plain HTTP request is sent on to https. All of these
clients speak first, ours and OpenSSH's too. Those few SSH clients that wait for the server's
version (RFC 4253 §4.2 lets either end begin) get it after :data:`SILENCE` seconds.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tunnelmesh.transports.strangers import Strangers

SILENCE = 3.0
"""Seconds for the first bytes: a ClientHello that is lost once comes again within one. Who has said
nothing by then may be an SSH client that waits; who has said half a word is sent away."""

REDIRECT_SECONDS = 10.0
"""Seconds for the rest of a plain HTTP request's head."""

MAX_HEAD = 8192
"""Bytes of a plain HTTP request's head, as other web servers have it."""

_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH")

_OPENINGS = {
    b"\x16\x03": "tls",  # a handshake record of TLS 1.x (RFC 8446 §5.1)
    b"SSH-": "ssh",
    **{method + b" ": "http" for method in _METHODS},
}

_REQUEST_LINE = re.compile(rb"[A-Z]+ (/[!-~]*) HTTP/1\.[01]\r?\n")
_HOST = re.compile(
    rb"\nhost:[ \t]*((?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?)[ \t]*\r?\n", re.I
)
_END = re.compile(rb"\r?\n\r?\n")


class OnePortFactory(Factory[Any]):
    """Listens for all of them.

    Connections go to the inner factories as if these listened themselves.

    :param reactor: the clock.
    :param tls: makes the connections of TLS clients.
    :param ssh: makes those of SSH clients.
    """

    noisy = False

    def __init__(self, reactor: IReactorTime, tls: IProtocolFactory, ssh: IProtocolFactory) -> None:
        self.reactor = reactor
        redirect = Factory.forProtocol(lambda: Redirect(reactor))
        redirect.noisy = False
        self.inner: dict[str, Any] = {"tls": tls, "ssh": ssh, "http": redirect}
        self.strangers = Strangers()
        self.counts: Counter[str] = Counter()
        """Connections by what they were: "tls", "ssh", "http", "unknown", "turned away"."""

    def startFactory(self) -> None:
        """The port is open."""
        for factory in self.inner.values():
            factory.doStart()

    def stopFactory(self) -> None:
        """The port is closed."""
        for factory in self.inner.values():
            factory.doStop()

    def buildProtocol(self, addr: IAddress | None) -> FirstBytes | None:
        """Take a connection, unless too many are undecided already."""
        if not self.strangers.admits(addr):
            self.counts["turned away"] += 1
            return None
        return FirstBytes(self, addr)


class FirstBytes(Protocol):
    """Waits for the first bytes, then stands aside for the protocol that they belong to.

    That protocol writes to the TCP connection itself, and registers its producers there.
    """

    transport: Any

    def __init__(self, factory: OnePortFactory, address: IAddress | None) -> None:
        self._ports = factory
        self._address = address
        self._data = b""
        self._inner: IProtocol | None = None
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Somebody is there."""
        self._ports.strangers.add(self, self._address)
        self._timer = self._ports.reactor.callLater(SILENCE, self._silent)

    def dataReceived(self, data: bytes) -> None:
        """Decide, or pass on."""
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        if self._timer is None:
            return
        self._data += data
        for opening, kind in _OPENINGS.items():
            if self._data.startswith(opening):
                self._hand_over(kind)
                return
        if not any(opening.startswith(self._data) for opening in _OPENINGS):
            self._hand_over("unknown")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone."""
        self._settle()
        if self._inner is not None:
            self._inner.connectionLost(reason)

    def _silent(self) -> None:
        self._hand_over("unknown" if self._data else "ssh")

    def _hand_over(self, kind: str) -> None:
        self._settle()
        self._ports.counts[kind] += 1
        factory = self._ports.inner.get(kind)
        self._inner = factory and factory.buildProtocol(self._address)
        if self._inner is None:
            self.transport.abortConnection()
            return
        self._inner.makeConnection(self.transport)
        data, self._data = self._data, b""
        if data:
            self._inner.dataReceived(data)

    def _settle(self) -> None:
        self._ports.strangers.settled(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


class Redirect(Protocol):
    """Answers one plain HTTP request with where to find us, and closes."""

    transport: Any

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._head = b""

    def connectionMade(self) -> None:
        """The request is on its way."""
        self._timer = self._reactor.callLater(REDIRECT_SECONDS, self._give_up)

    def dataReceived(self, data: bytes) -> None:
        """Answer once the head is whole; a body is not read."""
        self._head += data
        end = _END.search(self._head)
        if end is not None or len(self._head) > MAX_HEAD:
            self.transport.write(redirect(self._head[: end.end() if end else MAX_HEAD]))
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone."""
        if self._timer.active():
            self._timer.cancel()

    def _give_up(self) -> None:
        self.transport.abortConnection()


def redirect(head: bytes) -> bytes:
    """The answer to a plain HTTP request: the same address with https (RFC 9110 §15.4.9).

    :param head: the request's first line and headers. What is not plainly a host and a path is not
        sent back.
    """
    line, host = _REQUEST_LINE.match(head), _HOST.search(head)
    if line is None or host is None:
        return _answer(b"400 Bad Request")
    name = host[1].removesuffix(b":80")
    return _answer(b"308 Permanent Redirect", b"Location: https://" + name + line[1] + b"\r\n")


def _answer(status: bytes, header: bytes = b"") -> bytes:
    body = b"This port speaks HTTPS.\n"
    return (
        b"HTTP/1.1 " + status + b"\r\n" + header + b"Content-Type: text/plain\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    )
