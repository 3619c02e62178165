"""The coordinator's end of WebSocket links: a resource on its web site."""

# autobahn is mostly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import BAD_REQUEST, Request

from tunnelmesh.interfaces import ILinkUser
from tunnelmesh.transports.visits import Visit
from tunnelmesh.transports.websocket.link import MAX_STRANGERS_MESSAGE, OPTIONS, SUBPROTOCOL, Link


class ServerLink(Link, WebSocketServerProtocol):
    """The coordinator's end. ``key`` is set by the user, once the peer has signed in."""

    limit = MAX_STRANGERS_MESSAGE

    def onConnect(self, request: ConnectionRequest) -> str:
        """Refuse what is not one of ours.

        :raises ConnectionDeny: if the client does not offer our subprotocol.
        """
        if SUBPROTOCOL not in request.protocols:
            raise ConnectionDeny(BAD_REQUEST, f"this is for WebSocket subprotocol {SUBPROTOCOL}")
        return SUBPROTOCOL

    def onOpen(self) -> None:
        """The handshake is done: from here on, signing in is what is waited for."""
        if isinstance(self.transport, Visit):
            self.transport.settled()
        super().onOpen()


class LinkResource(WebSocketResource):
    """Peers' links on a web site, to be put at ``link.PATH``.

    The site's own timeout bounds the time for TLS and the request; give it ``link.OPEN_SECONDS``.

    :param reactor: the clock.
    :param user: who uses the links.
    """

    def __init__(self, reactor: IReactorTime, user: ILinkUser) -> None:
        super().__init__(_ServerFactory(reactor, user))

    def render(self, request: Request) -> bytes | int:
        """Take the request's connection over, unless it comes with a body to be held."""
        headers = request.requestHeaders
        if headers.hasHeader(b"content-length") or headers.hasHeader(b"transfer-encoding"):
            request.setResponseCode(BAD_REQUEST)
            return b""
        return super().render(request)  # type: ignore[no-any-return]


class _ServerFactory(WebSocketServerFactory):
    def __init__(self, reactor: IReactorTime, user: ILinkUser) -> None:
        super().__init__(protocols=[SUBPROTOCOL], server="", reactor=reactor)
        self.setProtocolOptions(versions=[13], webStatus=False, **OPTIONS)
        self._user = user

    def buildProtocol(self, addr: object) -> ServerLink:
        link = ServerLink(self.reactor, self._user)
        link.factory = self
        return link
