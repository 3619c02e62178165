"""What tests of links share: a user that remembers, and a coordinator's web site on loopback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from tunnelmesh.interfaces import ILink, ILinkUser
from tunnelmesh.transports.tls import Chain, certificate_chain, server_tls
from tunnelmesh.transports.websocket.client import connect
from tunnelmesh.transports.websocket.server import LinkResource

reactor: Any = any_reactor


@implementer(ILinkUser)
class User:
    """Remembers what its links did."""

    def __init__(self) -> None:
        self.links: list[ILink] = []
        self.frames: list[tuple[int, bytes]] = []
        self.changes: list[str] = []
        self.lost: list[str] = []
        self.problem: Exception | None = None

    def link_opened(self, link: ILink) -> None:
        """Remember it."""
        self.links.append(link)

    def frames_received(self, link: ILink, frames: Sequence[tuple[int, bytes]]) -> None:
        """Remember them, or find them wrong."""
        self.frames += frames
        if self.problem is not None:
            raise self.problem

    def link_paused(self, link: ILink) -> None:
        """Remember that."""
        self.changes.append("paused")

    def link_resumed(self, link: ILink) -> None:
        """Remember that."""
        self.changes.append("resumed")

    def link_lost(self, link: ILink, reason: str) -> None:
        """Remember why."""
        self.lost.append(reason)

    @property
    def received(self) -> int:
        """Bytes of all bodies."""
        return sum(len(body) for _, body in self.frames)


def site(user: ILinkUser, clock: object) -> Site:
    """A coordinator's web site: links at their place, and a page beside them."""
    root, version = Resource(), Resource()
    root.putChild(b"v1", version)
    version.putChild(b"link", LinkResource(clock, user))
    return Site(root, reactor=clock, timeout=10)


class Wire(StringTransport):
    """A TCP connection in memory, which closes when told, unless it is stuck."""

    protocol: Protocol
    stuck = False

    def __init__(self, clock: Clock) -> None:
        super().__init__(lenient=True)
        self.clock = clock

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is delayed here."""

    def unregisterProducer(self) -> None:
        """As TCP's: there need not be one."""
        if self.producer is not None:
            super().unregisterProducer()

    def loseConnection(self) -> None:
        """Close, if the other end agrees."""
        super().loseConnection()
        if not self.stuck:
            self._lose(ConnectionDone())

    def abortConnection(self) -> None:
        """Close."""
        super().abortConnection()
        self._lose(ConnectionAborted())

    def _lose(self, reason: Exception) -> None:
        if self.connected:
            self.connected = False
            self.clock.callLater(0, lambda: self.protocol.connectionLost(Failure(reason)))


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for something to come true."""
    end = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError("did not come true in time")
        await deferLater(reactor, 0.002)


class LoopbackTestCase(TestCase):
    """A coordinator's HTTPS site on loopback, and its identity."""

    timeout = 20

    def setUp(self) -> None:
        """Listen."""
        self.identity = Ed25519PrivateKey.generate()
        self.pin = self.identity.public_key().public_bytes_raw()
        self.coordinator = User()
        self.peer = User()
        self.now = datetime.now(UTC)
        chain = certificate_chain(self.identity, [], self.now)
        self.port = self.serve(chain, site(self.coordinator, reactor))

    def serve(self, chain: Chain, factory: Site) -> int:
        """Listen for TLS; return the port."""
        secured = TLSMemoryBIOFactory(server_tls(chain), False, factory, reactor)
        port = reactor.listenTCP(0, secured, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port.getHost().port

    def connect(self, port: int | None = None, **options: object) -> Deferred[ILink]:
        """Open a link; it is closed at the end of the test."""
        port = port or self.port
        options.setdefault("pin", self.pin)
        endpoint = options.pop("endpoint", TCP4ClientEndpoint(reactor, "127.0.0.1", port))
        return connect(reactor, endpoint, "127.0.0.1", port, self.peer, **options)

    async def open(self, **options: object) -> tuple[ILink, ILink]:
        """Open a link: the peer's end and the coordinator's, which has authenticated the peer."""
        link = await self.connect(**options)
        theirs = self.coordinator.links[-1]
        theirs.key = b"k" * 32
        self.addCleanup(self.gone)
        return link, theirs

    async def gone(self) -> None:
        """Close all links and wait until they are."""
        for link in (*self.peer.links, *self.coordinator.links):
            link.close("end of test")
            link.resumeProducing()
        for user in (self.peer, self.coordinator):
            await until(lambda user=user: len(user.lost) == len(user.links))
