"""Speak HTTP with the router: directly, briefly, and believing nothing."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, FileBodyProducer, PartialDownloadError, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from tunnelmesh.nat.portmap.markup import MAX_BYTES
from tunnelmesh.nat.portmap.speaker import Fetch

PATIENCE = 3.0
"""Seconds for a connection, and then for a whole answer; routers take tens of milliseconds."""

MAX_ANSWER = MAX_BYTES + 8192
"""Bytes read at most, the headers included."""

_log = Logger()


class RouterWeb:
    """Asks web servers on the LAN: never through a proxy, never following a redirect."""

    def __init__(self, reactor: Any) -> None:
        self._agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor))

    async def fetch(self, asked: Fetch) -> bytes | None:
        """Ask, and return the answer's body, whatever its status; None if there is none."""
        try:
            return await self._fetch(asked)
        except Exception as error:
            _log.info("no answer from {url}: {error}", url=asked.url, error=error)
            return None

    async def _fetch(self, asked: Fetch) -> bytes:
        headers = Headers({b"User-Agent": [b"TunnelMesh"]})
        method, body = b"GET", None
        if asked.action:
            method, body = b"POST", FileBodyProducer(BytesIO(asked.body))
            headers.addRawHeader(b"Content-Type", b'text/xml; charset="utf-8"')
            headers.addRawHeader(b"SOAPAction", f'"{asked.action}"'.encode())
        response = await self._agent.request(method, asked.url.encode(), headers, body)
        try:
            document: bytes = await readBody(response)
        except PartialDownloadError as unmeasured:  # the end of the connection is the document's
            document = unmeasured.response or b""
        return document


class _Bounded(ProtocolWrapper):
    """A connection that ends when it takes longer, or brings more, than an honest router's."""

    received = 0

    def connectionMade(self) -> None:
        """It begins."""
        self.late = self.factory.reactor.callLater(PATIENCE, self.abort)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        """More has come."""
        self.received += len(data)
        if self.received > MAX_ANSWER:
            self.abort()
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has ended."""
        if self.late.active():
            self.late.cancel()
        super().connectionLost(reason)

    def abort(self) -> None:
        """End it."""
        self.transport.abortConnection()  # type: ignore[union-attr]


def _inner(connected: Any) -> Any:
    return connected.wrappedProtocol


class _BoundedFactory(WrappingFactory):
    protocol = _Bounded

    def __init__(self, factory: IProtocolFactory, reactor: Any) -> None:
        super().__init__(factory)
        self.reactor = reactor


class _BoundedEndpoint:
    """A TCP endpoint whose connections are bounded."""

    def __init__(self, reactor: Any, uri: URI) -> None:
        self._reactor = reactor
        self._endpoint = TCP4ClientEndpoint(
            reactor, uri.host.decode("ascii"), uri.port, timeout=PATIENCE
        )

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Connect; what is returned in the end is the protocol that *factory* made."""
        return self._endpoint.connect(_BoundedFactory(factory, self._reactor)).addCallback(_inner)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def endpointForURI(self, uri: URI) -> _BoundedEndpoint:
        """Where a URL's server is."""
        return _BoundedEndpoint(self._reactor, uri)
