"""Speak HTTP with the router: directly, briefly, and believing nothing."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import URI, Agent, FileBodyProducer, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from tunnelmesh.nat.portmap.markup import MAX_BYTES
from tunnelmesh.nat.portmap.speaker import Fetch

PATIENCE = 3.0
"""Seconds for a whole answer; routers take tens of milliseconds."""

MAX_ANSWER = MAX_BYTES + 8192
"""Bytes read at most, the headers included."""

_log = Logger()


class RouterWeb:
    """Asks web servers on the LAN: never through a proxy, never following a redirect."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor))

    async def fetch(self, asked: Fetch) -> bytes | None:
        """Ask, and return the answer's body, whatever its status; None if there is none."""
        waiting = Deferred.fromCoroutine(self._fetch(asked))
        waiting.addTimeout(PATIENCE, self._reactor)
        try:
            return await waiting
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
        document: bytes = await readBody(response)
        return document


class _Bounded(ProtocolWrapper):
    """A connection that ends when more has come than any honest router sends."""

    received = 0

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > MAX_ANSWER:
            self.transport.abortConnection()  # type: ignore[union-attr]
        else:
            super().dataReceived(data)


def _inner(connected: Any) -> Any:
    return connected.wrappedProtocol


class _BoundedEndpoint:
    """A TCP endpoint whose connections are bounded."""

    def __init__(self, reactor: Any, uri: URI) -> None:
        self._endpoint = TCP4ClientEndpoint(
            reactor, uri.host.decode("ascii"), uri.port, timeout=PATIENCE
        )

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """Connect; what is returned in the end is the protocol that *factory* made."""
        bounded = WrappingFactory(factory)
        bounded.protocol = _Bounded
        return self._endpoint.connect(bounded).addCallback(_inner)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def endpointForURI(self, uri: URI) -> _BoundedEndpoint:
        """Where a URL's server is."""
        return _BoundedEndpoint(self._reactor, uri)
