"""A TCP connection through an HTTP proxy: the CONNECT method (RFC 9110 §9.3.6)."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tunnelmesh.errors import ProxyError
from tunnelmesh.transports.proxy_authentication import ProxyAuthentication
from tunnelmesh.transports.proxy_settings import Proxy
from tunnelmesh.transports.reasons import printable, reason_text

MAX_HEADER = 1 << 14
"""Longest answer taken, in bytes, up to the blank line: as web servers limit requests."""

ANSWER_SECONDS = 6.0
"""For the proxy to connect and answer, per attempt: less than opening a link may take, so that it
is the proxy's silence that the user reads of."""

ATTEMPTS = 3
"""Connections made to one end: to be asked who we are, to answer with the nonce that was asked
with, and once more should that have become stale."""

_ADVICE = {
    403: "ask for it to be allowed",
    404: "is it a proxy at all?",
    405: "it allows no CONNECT",
    502: "it cannot reach that",
    503: "it cannot reach that",
    504: "it cannot reach that",
}


class _RefusalError(Exception):
    """The proxy's answer is no."""

    def __init__(self, status: int, words: str, challenges: list[str]) -> None:
        super().__init__(status)
        self.status = status
        self.words = words
        self.challenges = challenges


@implementer(IStreamClientEndpoint)
class ProxyConnectEndpoint:
    """Connects to *host* and *port* as *proxy* reaches them.

    One of these should be kept for reconnecting: it remembers how to sign in. Put TLS on top with
    :func:`twisted.internet.endpoints.wrapClientTLS`.

    :param reactor: the clock.
    :param endpoint: how to reach the proxy.
    :param proxy: who it is, and who we are to it.
    :param entropy: random bytes.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        endpoint: IStreamClientEndpoint,
        proxy: Proxy,
        host: str,
        port: int,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._proxy = proxy
        self._target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._authentication = ProxyAuthentication(proxy, entropy)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect.

        :returns: the protocol, once the proxy has connected it; it fails with
            :exc:`~tunnelmesh.errors.ProxyError`.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        answered = False
        for _ in range(ATTEMPTS):
            authorization = self._authentication.header("CONNECT", self._target)
            tunnel = _Tunnel(self._request(authorization), factory)
            try:
                return await self._attempt(tunnel)
            except _RefusalError as refusal:
                # tinyproxy says 401 to a wrong password.
                rejected = refusal.status == 401 and authorization is not None
                if refusal.status != 407 and not rejected:
                    raise self._refused(refusal) from None
                self._authentication.challenged(refusal.challenges, answered or rejected)
                answered = True
        raise ProxyError(f"the proxy {self._proxy} asks for the password again and again")

    def _attempt(self, tunnel: _Tunnel) -> Deferred[IProtocol]:
        attempt = Deferred.fromCoroutine(self._open(tunnel))
        return attempt.addTimeout(
            ANSWER_SECONDS,
            self._reactor,
            lambda *_: Failure(
                ProxyError(f"the proxy {self._proxy} did not answer within {ANSWER_SECONDS:g} s")
            ),
        )

    async def _open(self, tunnel: _Tunnel) -> IProtocol:
        try:
            await self._endpoint.connect(Factory.forProtocol(lambda: tunnel))
        except (CancelledError, ConnectingCancelledError):
            raise CancelledError from None
        except Exception as problem:
            raise ProxyError(
                f"the proxy {self._proxy} cannot be reached: {reason_text(problem)}"
            ) from None
        try:
            return await tunnel.opened
        except ProxyError as problem:
            raise ProxyError(f"the proxy {self._proxy} {problem}") from None

    def _request(self, authorization: str | None) -> bytes:
        lines = [f"CONNECT {self._target} HTTP/1.1", f"Host: {self._target}"]
        if authorization is not None:
            lines.append(f"Proxy-Authorization: {authorization}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _refused(self, refusal: _RefusalError) -> ProxyError:
        advice = _ADVICE.get(refusal.status, "")
        answer = printable(f"{refusal.status} {refusal.words}".strip())
        return ProxyError(
            f"the proxy {self._proxy} refuses to connect to {self._target}: {answer}"
            + (f" ({advice})" if advice else "")
        )


class _Tunnel(Protocol):
    """Asks the proxy, then makes way for the protocol that the connection is for.

    :param request: the whole request.
    :param factory: of that protocol.
    """

    transport: Any

    def __init__(self, request: bytes, factory: IProtocolFactory) -> None:
        self._request = request
        self._factory = factory
        self._answer = b""
        self.opened: Deferred[IProtocol] = Deferred(lambda _: self._abort())

    def connectionMade(self) -> None:
        """Ask."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """Read the answer's head; a refusal's body is of no use."""
        if self.opened.called:
            return
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if not end and len(head) <= MAX_HEADER and _may_be_http(head):
            return
        try:
            if not end or len(head) > MAX_HEADER:
                raise ProxyError("does not answer as an HTTP proxy")
            status, words, challenges = parse_answer(head)
            if status // 100 != 2:
                raise _RefusalError(status, words, challenges)
        except (ProxyError, _RefusalError) as problem:
            self._abort()
            self.opened.errback(problem)
        else:
            self._make_way(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The proxy closes without an answer."""
        if not self.opened.called:
            words = reason_text(reason.value)  # type: ignore[arg-type]
            self.opened.errback(ProxyError(f"gives no answer: {words}"))

    def _make_way(self, rest: bytes) -> None:
        """Hand the connection over, with what already came through it."""
        protocol = self._factory.buildProtocol(self.transport.getPeer())
        if protocol is None:
            self._abort()
            self.opened.errback(ProxyError("is no longer needed"))
            return
        self.dataReceived = protocol.dataReceived  # type: ignore[method-assign]
        self.connectionLost = protocol.connectionLost  # type: ignore[method-assign,assignment]
        protocol.makeConnection(self.transport)
        self.opened.callback(protocol)
        if rest:
            protocol.dataReceived(rest)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()


def parse_answer(head: bytes) -> tuple[int, str, list[str]]:
    """Read the head of a proxy's answer, without the blank line.

    :returns: the status, its words, and the values of the ``Proxy-Authenticate`` lines.
    :raises ProxyError: if it is not HTTP.
    """
    status_line, *lines = head.decode("latin-1").split("\r\n")
    _, _, rest = status_line.partition(" ")
    code, _, words = rest.partition(" ")
    if not _may_be_http(head) or len(code) != 3 or not (code.isascii() and code.isdigit()):
        raise ProxyError("does not answer as an HTTP proxy")
    fields = (line.partition(":") for line in lines)
    challenges = [
        value.strip() for name, _, value in fields if name.lower() == "proxy-authenticate"
    ]
    return int(code), words, challenges


def _may_be_http(head: bytes) -> bool:
    """Whether these bytes can begin an HTTP/1 answer: anything else need not be waited for."""
    return head.startswith(b"HTTP/1."[: len(head)])
