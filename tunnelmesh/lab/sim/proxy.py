"""An HTTP proxy that does nothing but ``CONNECT`` (RFC 9110 §9.3.6)."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from tunnelmesh.lab.sim.host import Host

#: A request longer than this, in bytes, is refused.
REQUEST_MAX = 16 * 1024


class Proxy(Factory):
    """A proxy that listens on a machine.

    :param login: the user name and password (Basic, RFC 7617) that it asks for, or None.
    :param ports: where ``CONNECT`` may go.

    :ivar host: the machine.
    :ivar connected: connections that it has made for others.
    """

    noisy = False

    def __init__(
        self, host: Host, port: int, login: tuple[str, str] | None, ports: frozenset[int]
    ) -> None:
        self.host = host
        self.port = port
        self.ports = ports
        self.connected = 0
        self.authorization = (
            None if login is None else b"Basic " + b64encode(":".join(login).encode())
        )
        self.listening = host.listenTCP(port, self)

    def buildProtocol(self, addr: IAddress | None) -> _Request:
        return _Request(self)


class _Pipe(Protocol):
    """One side of a connection whose other side gets all that it receives."""

    transport: Any = None
    other: _Pipe | None = None

    def join(self, other: _Pipe) -> None:
        """Send what arrives here to *other*, no faster than it takes it."""
        self.other = other
        other.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        assert self.other is not None
        self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.other is not None:
            self.other.transport.unregisterProducer()
            self.other.transport.loseConnection()


class _Request(_Pipe):
    """The client's side: a request, then whatever it sends."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._request = b""

    def dataReceived(self, data: bytes) -> None:
        if self.other is not None:
            super().dataReceived(data)
            return
        self._request += data
        head, complete, rest = self._request.partition(b"\r\n\r\n")
        if complete:
            self._request = rest
            self._answer(head.split(b"\r\n"))
        elif len(self._request) > REQUEST_MAX:
            self._refuse(b"400 Bad Request")

    def _answer(self, lines: list[bytes]) -> None:
        method, _, target = lines[0].partition(b" ")
        host, _, port = target.split(b" ")[0].rpartition(b":")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        proxy = self._proxy
        if proxy.authorization not in (None, headers.get(b"proxy-authorization")):
            self._refuse(
                b"407 Proxy Authentication Required", b'Proxy-Authenticate: Basic realm="proxy"\r\n'
            )
        elif method != b"CONNECT" or not port.isdigit():
            self._refuse(b"405 Method Not Allowed")
        elif int(port) not in proxy.ports:
            self._refuse(b"403 Forbidden")
        else:
            self.transport.pauseProducing()
            proxy.host.connectTCP(
                host.decode("ascii", "replace").strip("[]"), int(port), _Onward(self)
            )

    def _refuse(self, status: bytes, header: bytes = b"") -> None:
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\n" + header + b"Content-Length: 0\r\n\r\n"
        )
        self.transport.loseConnection()

    def unreachable(self) -> None:
        """The connection onwards cannot be made."""
        self._refuse(b"502 Bad Gateway")

    def reached(self, other: _Pipe) -> None:
        """The connection onwards is made: say so, and carry bytes."""
        self._proxy.connected += 1
        self.join(other)
        other.join(self)
        self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        if self._request:
            super().dataReceived(self._request)
        self.transport.resumeProducing()


class _Onward(ClientFactory[_Pipe]):
    """The connection that a client asked for."""

    noisy = False

    def __init__(self, request: _Request) -> None:
        self._request = request

    def buildProtocol(self, addr: IAddress | None) -> _Pipe:
        return _Outside(self._request)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self._request.unreachable()


class _Outside(_Pipe):
    def __init__(self, request: _Request) -> None:
        self._request = request

    def connectionMade(self) -> None:
        self._request.reached(self)
