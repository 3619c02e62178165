"""A peer's end of a WebSocket link: connect, check the certificate, shake hands."""

# autobahn is mostly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.wamp.types import TransportDetails
from autobahn.websocket.types import ConnectingRequest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from tunnelmesh.errors import LinkError, TunnelMeshError
from tunnelmesh.interfaces import ILink, ILinkUser
from tunnelmesh.transports.reasons import printable, reason_text
from tunnelmesh.transports.tls import client_tls
from tunnelmesh.transports.websocket.link import OPEN_SECONDS, OPTIONS, PATH, SUBPROTOCOL, Link

MAX_ANSWER = 1 << 14
"""Longest HTTP answer to the handshake, in bytes; web servers commonly limit requests to this."""


class ClientLink(Link, WebSocketClientProtocol):
    """A peer's end.

    :param host: the coordinator's name or address, as the user gave it.
    :param port: its port.
    """

    def __init__(self, reactor: IReactorTime, user: ILinkUser, host: str, port: int) -> None:
        super().__init__(reactor, user)
        self.link: Deferred[ILink] = Deferred(lambda _: self.fail("given up"))
        """Fires when the link is open, or cannot be."""
        self._host = f"[{host}]" if ":" in host else host
        self._port = port

    def onConnecting(self, transport_details: TransportDetails) -> ConnectingRequest:
        """What to ask the server for."""
        return ConnectingRequest(
            self._host, self._port, PATH, useragent="TunnelMesh", protocols=[SUBPROTOCOL]
        )

    def onOpen(self) -> None:
        """The handshake is done, if the server speaks our subprotocol."""
        if self.websocket_protocol_in_use != SUBPROTOCOL:
            self.fail(f"it does not speak {SUBPROTOCOL}")
            return
        super().onOpen()
        self.link.callback(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the WebSocket, or before it is open of anything at all."""
        if self.state != self.STATE_CONNECTING:
            self._dataReceived(data)
            return
        try:
            self._dataReceived(data)
        except ValueError:
            self.fail("it does not answer as a web server")
        if self.state == self.STATE_CONNECTING and len(self.data) > MAX_ANSWER:
            self.fail("its answer is too long")

    def failHandshake(self, reason: str) -> None:
        """The server (or a proxy in its place) answers, but not with a WebSocket."""
        status = self.http_status_line.partition(" ")[2]
        if status.startswith("101"):
            self.fail(printable(reason))
        else:
            self.fail(f"it answers {printable(status)!r} instead of opening a WebSocket")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """TCP is gone."""
        super().connectionLost(reason)
        if self.link.called:
            return
        if isinstance(reason.value, TunnelMeshError):
            self.link.errback(reason.value)
        else:
            self.link.errback(
                LinkError(f"no WebSocket link to {self._host}:{self._port}: {self._end}")
            )


class ClientFactory(WebSocketClientFactory):
    """Hands out one link.

    :param reactor: the clock.
    :param link: that is not connected yet.
    """

    def __init__(self, reactor: IReactorTime, link: ClientLink) -> None:
        super().__init__(protocols=[SUBPROTOCOL], reactor=reactor)
        self.setProtocolOptions(serverConnectionDropTimeout=0, **OPTIONS)
        self._link = link

    def buildProtocol(self, addr: object) -> ClientLink:
        self._link.factory = self
        return self._link


def connect(
    reactor: IReactorTime,
    endpoint: IStreamClientEndpoint,
    host: str,
    port: int,
    user: ILinkUser,
    *,
    pin: bytes | None,
    proxy: str | None = None,
    timeout: float = OPEN_SECONDS,
) -> Deferred[ILink]:
    """Open a link to the coordinator's HTTPS port.

    :param reactor: the clock.
    :param endpoint: where the port is: TCP, or through a proxy; TLS is added here.
    :param host: the coordinator's name or address, as the user gave it.
    :param port: its port.
    :param user: hears ``link_opened`` before the Deferred fires.
    :param pin: the coordinator's Ed25519 public key (32 bytes), or None where its certificate is
        from an ordinary authority.
    :param proxy: the proxy that *endpoint* goes through, without its password, for ``link.proxy``.
    :param timeout: seconds for everything.
    :returns: the open link; cancel it to give up. It fails with TrustError (InterceptionError
        through a proxy) if the certificate is not the coordinator's, and otherwise with LinkError.
    """
    link = ClientLink(reactor, user, host, port)
    link.key = pin
    link.proxy = proxy
    secured = wrapClientTLS(client_tls(host, pin, proxy), endpoint, reactor)
    opening: Deferred[ILink] = Deferred.fromCoroutine(_open(reactor, secured, link))
    return opening.addTimeout(timeout, reactor, lambda *_: _timed_out(host, port, timeout))


async def _open(reactor: IReactorTime, endpoint: IStreamClientEndpoint, link: ClientLink) -> ILink:
    try:
        await endpoint.connect(ClientFactory(reactor, link))
    except (CancelledError, ConnectingCancelledError):
        raise CancelledError from None
    except TunnelMeshError:
        raise
    except Exception as problem:
        raise LinkError(f"cannot reach the coordinator: {reason_text(problem)}") from None
    return await link.link


def _timed_out(host: str, port: int, timeout: float) -> Failure:
    return Failure(
        LinkError(
            f"no WebSocket link to {host}:{port} within {timeout:g} s: something on the way blocks"
            " or delays it"
        )
    )
