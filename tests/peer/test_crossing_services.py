"""Tests for :mod:`tunnelmesh.peer.crossing` as a whole: real services on the simulated internet.

One machine has a device, the other none.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.peer.world import WorldTestCase, node
from tunnelmesh.peer.crossing import Crossing


@implementer(IHalfCloseableProtocol)
class Shouting(Protocol):
    """A service that answers in capitals, and ``done`` when its client has said all."""

    transport: Any

    def connectionMade(self) -> None:
        """Speak first, as many services do."""
        self.transport.write(b"welcome ")

    def dataReceived(self, data: bytes) -> None:
        """Answer; or hang up the hard way."""
        if data == b"abort":
            self.transport.abortConnection()
        else:
            self.transport.write(data.upper())

    def readConnectionLost(self) -> None:
        """The client has said all."""
        self.transport.write(b" done")
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """The client reads no more."""


class Client(Protocol):
    """A program that remembers what it gets.

    :ivar lost: why the connection ended, if it has.
    """

    transport: Any

    def __init__(self) -> None:
        self.got = bytearray()
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """Remember it."""
        self.got += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Remember that."""
        self.lost = reason


class CrossingTests(WorldTestCase):
    """A program on a machine with a device, and services on one without."""

    def setUp(self) -> None:
        """Both have met; the second exposes some ports, of which one is served."""
        super().setUp()
        self.here = self.add("here")
        expose = tuple((port, "127.0.0.1", port) for port in (22, 80, 81, 82))
        self.there = self.add("there", mode="userspace", expose=expose)
        self.until(lambda: self.here.path_to("there") == "udp" == self.there.path_to("here"))
        self.there.host.listenTCP(22, Factory.forProtocol(Shouting), interface="127.0.0.1")

    @property
    def crossing(self) -> Crossing:
        """The part that is tested."""
        crossing = node(self.here).mesh.switch.crossing
        assert crossing is not None
        return crossing

    def connect(self, port: int = 22) -> Deferred[Client]:
        """Connect as any program would, which knows nothing of streams."""
        assert self.here.inner is not None
        address = str(node(self.there).membership.address)
        endpoint = TCP4ClientEndpoint(self.here.inner, address, port)
        return endpoint.connect(Factory.forProtocol(Client))

    def connected(self) -> Client:
        """A client that is connected and welcome."""
        connecting = self.connect()
        self.until(lambda: connecting.called)
        client = self.successResultOf(connecting)
        self.until(lambda: client.got == b"welcome ")
        client.got.clear()
        return client

    def test_conversation(self) -> None:
        """Bytes go both ways; the end of what the program says is heard, and the answer to it."""
        client = self.connected()
        client.transport.write(b"hello")
        self.until(lambda: client.got == b"HELLO")
        client.transport.loseWriteConnection()
        self.until(lambda: client.lost is not None)
        self.assertEqual(client.got, b"HELLO done")
        assert client.lost is not None
        self.assertTrue(client.lost.check(ConnectionDone))

    def test_aborted(self) -> None:
        """A connection that the service aborts does not look finished to the program."""
        client = self.connected()
        client.transport.write(b"abort")
        self.until(lambda: client.lost is not None)
        assert client.lost is not None
        self.assertTrue(client.lost.check(ConnectionLost))

    def test_brief(self) -> None:
        """A service that ends a connection as soon as it begins does so to the program as well."""

        def serve(port: int, behave: Callable[[Any], object]) -> None:
            brief = type("Brief", (Protocol,), {"connectionMade": lambda s: behave(s.transport)})
            self.there.host.listenTCP(port, Factory.forProtocol(brief), interface="127.0.0.1")

        def speak(transport: Any) -> None:
            transport.write(b"no room today")
            transport.loseConnection()

        serve(81, lambda transport: transport.loseConnection())
        serve(82, speak)
        for port, got in ((81, b""), (82, b"no room today")):
            connecting = self.connect(port)
            self.until(lambda connecting=connecting: connecting.called)
            client = self.successResultOf(connecting)
            self.until(lambda client=client: client.lost is not None)
            assert client.lost is not None
            self.assertEqual((client.got, client.lost.type), (got, ConnectionDone))

    def test_refused(self) -> None:
        """A port that nothing listens on, and one that is not exposed, refuse at once."""
        for port in (80, 443):
            connecting = self.connect(port)
            began = self.here.host.seconds()
            self.until(lambda connecting=connecting: connecting.called)
            self.failureResultOf(connecting, ConnectionRefusedError)
            self.assertLess(self.here.host.seconds() - began, 1.0)

    def test_much_at_once(self) -> None:
        """Connections beside each other do not mix, whatever goes through them."""
        clients = [self.connect() for _ in range(20)]
        self.until(lambda: all(client.called for client in clients))
        sent = [Random(n).randbytes(5_000).hex().encode() for n in range(20)]
        connected = [self.successResultOf(client) for client in clients]
        for client, data in zip(connected, sent, strict=True):
            client.transport.write(data)
            client.transport.loseWriteConnection()
        self.until(lambda: all(client.lost for client in connected), 60.0)
        for client, data in zip(connected, sent, strict=True):
            self.assertEqual(client.got, b"welcome " + data.upper() + b" done")

    def test_peer_stops(self) -> None:
        """When the peer's service ends, so do the connections to it."""
        client = self.connected()
        assert self.there.service is not None
        self.there.service.stopService()
        self.until(lambda: client.lost is not None, 10.0)

    def test_restart(self) -> None:
        """A connection from before a restart is reset when it is used, and new ones work."""
        client = self.connected()
        self.here.kill()
        self.here.start()
        self.until(lambda: self.here.path_to("there") == "udp")
        client.transport.write(b"hello?")
        self.until(lambda: client.lost is not None)
        self.connected()
