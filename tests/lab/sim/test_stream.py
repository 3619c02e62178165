"""TCP connections behave like Twisted's."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import (
    CannotListenError,
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TimeoutError,
    UserError,
)
from twisted.internet.interfaces import (
    IConnector,
    IConsumer,
    IHalfCloseableProtocol,
    IListeningPort,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.lab.sim.parts import Collect, Echo
from tunnelmesh.lab.sim import Internet

ADDRESS = "203.0.113.10"


class Connecting(ClientFactory[Protocol]):
    """A factory for one connection, which remembers how it went."""

    noisy = False

    def __init__(self, protocol: Protocol | None = None) -> None:
        self.made = protocol or Collect()
        self.failed: Failure | None = None
        self.lost: Failure | None = None

    def buildProtocol(self, addr: object) -> Protocol:
        return self.made

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.failed = reason

    def clientConnectionLost(self, connector: object, reason: Failure) -> None:
        self.lost = reason


class Serving(Factory[Protocol]):
    """A factory that remembers the protocols it made."""

    noisy = False

    def __init__(self, kind: type[Protocol] = Collect) -> None:
        self.kind = kind
        self.made: list[Any] = []

    def buildProtocol(self, addr: object) -> Protocol:
        self.made.append(self.kind())
        return self.made[-1]  # type: ignore[no-any-return]


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Collect):
    """Notices when each direction ends."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[str] = []

    def readConnectionLost(self) -> None:
        self.ended.append("read")

    def writeConnectionLost(self) -> None:
        self.ended.append("write")


@implementer(IPushProducer)
class Fountain:
    """Writes for as long as it is let."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.written = 0
        self.paused = 0
        self.stopped = False
        self._flowing = False

    def resumeProducing(self) -> None:
        self._flowing = True
        while self._flowing:
            self.written += 10_000
            self._transport.write(bytes(10_000))

    def pauseProducing(self) -> None:
        self.paused += 1
        self._flowing = False

    def stopProducing(self) -> None:
        self.stopped = True
        self._flowing = False


class Case(SynchronousTestCase):
    """A server, and a laptop behind a NAT."""

    def setUp(self) -> None:
        self.internet = Internet(seed=11)
        self.server = self.internet.host(ADDRESS, name="server")
        self.nat = self.internet.nat("198.51.100.1")
        self.laptop = self.nat.host(name="laptop")
        self.serving = Serving()

    def connect(self, protocol: Protocol | None = None) -> tuple[Any, Any]:
        """A connection; returns the laptop's protocol and the server's."""
        self.server.listenTCP(80, self.serving)
        factory = Connecting(protocol)
        self.laptop.connectTCP(ADDRESS, 80, factory)
        self.internet.run_until(lambda: self.serving.made, 5)
        self.internet.run(0.1)
        return factory.made, self.serving.made[0]


class ConnectTests(Case):
    """How attempts succeed and fail."""

    def attempt(self, host: str = ADDRESS, **options: Any) -> type[BaseException]:
        """Why a connection to port 80 fails."""
        factory = Connecting()
        self.laptop.connectTCP(host, 80, factory, **options)
        self.internet.run_until(lambda: factory.failed, 200)
        assert factory.failed is not None
        assert factory.failed.type is not None
        return factory.failed.type

    def test_interfaces(self) -> None:
        """Transports, ports and connectors are Twisted's."""
        port = self.server.listenTCP(81, self.serving)
        self.assertTrue(verifyObject(IListeningPort, port))
        connector = self.laptop.connectTCP(ADDRESS, 81, Connecting())
        self.assertTrue(verifyObject(IConnector, connector))
        client, _ = self.connect()
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            self.assertTrue(verifyObject(interface, client.transport))

    def test_addresses(self) -> None:
        """Each end sees what it would see through a NAT; the handshake takes a round trip."""
        client, server = self.connect()
        self.assertEqual(client.transport.getPeer().host, ADDRESS)
        self.assertEqual(client.transport.getHost().host, "192.168.1.2")
        self.assertEqual(server.transport.getPeer().host, "198.51.100.1")

    def test_refused(self) -> None:
        """Nobody listens: refused, after a round trip."""
        self.assertIs(self.attempt(), ConnectionRefusedError)
        self.assertLess(self.internet.clock.elapsed, 0.1)

    def test_timeout(self) -> None:
        """Nobody answers: the attempt ends after its timeout."""
        self.assertIs(self.attempt("192.0.2.1", timeout=7), TimeoutError)
        self.assertAlmostEqual(self.internet.clock.elapsed, 7, places=3)

    def test_blocked_port(self) -> None:
        """A blocked port does not answer."""
        self.nat.block(tcp_port=80)
        self.server.listenTCP(80, self.serving)
        self.assertIs(self.attempt(timeout=7), TimeoutError)

    def test_web_only(self) -> None:
        """A gateway for the web lets TCP out to web ports and nowhere else."""
        laptop = self.internet.nat("198.51.100.2", kind="web-only").host()
        connected: list[int] = []
        for port in (443, 8443, 2222):
            self.server.listenTCP(port, self.serving)
            endpoint = TCP4ClientEndpoint(laptop, ADDRESS, port, timeout=3)
            attempt = connectProtocol(endpoint, Collect())
            attempt.addCallbacks(
                lambda _, port=port: connected.append(port), lambda f: f.trap(TimeoutError)
            )
        self.internet.run(5)
        self.assertEqual(connected, [443])

    def test_unknown_name(self) -> None:
        """A name without an address fails as a lookup does."""
        self.assertIs(self.attempt("nowhere.example"), DNSLookupError)

    def test_names(self) -> None:
        """A name is looked up among the internet's names."""
        self.internet.names["server.example"] = (ADDRESS,)
        self.assertIs(self.attempt("server.example"), ConnectionRefusedError)
        self.assertEqual(self.successResultOf(self.laptop.resolve("server.example")), ADDRESS)
        self.failureResultOf(self.laptop.resolve("nowhere.example"), DNSLookupError)

    def test_no_route(self) -> None:
        """Without an address of the family there is no way."""
        self.assertIs(self.attempt("2001:db8::1"), NoRouteError)

    def test_stop_connecting(self) -> None:
        """An attempt can be given up."""
        factory = Connecting()
        self.laptop.connectTCP("192.0.2.1", 80, factory).stopConnecting()
        assert factory.failed is not None
        self.assertIs(factory.failed.type, UserError)
        self.internet.run(60)
        self.assertEqual(self.laptop.getDelayedCalls(), [])

    def test_bind_address(self) -> None:
        """A connection comes from the address and port that it was told to use."""
        self.server.listenTCP(80, self.serving)
        self.laptop.connectTCP(ADDRESS, 80, Connecting(), bindAddress=("192.168.1.2", 5555))
        self.internet.run_until(lambda: self.serving.made, 5)
        self.assertEqual(self.serving.made[0].transport.getPeer().port, 5555)
        self.assertIs(self.attempt(bindAddress=("10.0.0.1", 0)).__base__, ConnectError)

    def test_inbound_is_filtered(self) -> None:
        """A machine behind a NAT cannot be called from outside."""
        self.laptop.listenTCP(80, self.serving)
        factory = Connecting()
        self.server.connectTCP("198.51.100.1", 80, factory, timeout=3)
        self.internet.run_until(lambda: factory.failed, 5)
        self.assertEqual(self.serving.made, [])

    def test_port_taken_and_closed(self) -> None:
        """A taken port is refused to others; a closed one refuses connections."""
        port = self.server.listenTCP(80, self.serving)
        self.assertRaises(CannotListenError, self.server.listenTCP, 80, self.serving)
        self.successResultOf(port.stopListening())
        self.assertIs(self.attempt(), ConnectionRefusedError)

    def test_loopback(self) -> None:
        """A machine reaches itself."""
        self.server.listenTCP(80, self.serving, interface="127.0.0.1")
        self.server.connectTCP("127.0.0.1", 80, Connecting())
        self.internet.run(0.01)
        self.assertEqual(len(self.serving.made), 1)
        self.assertIs(self.attempt(), ConnectionRefusedError)


class EndTests(Case):
    """How connections end, and who hears what."""

    def assert_lost(self, protocol: Any, kind: type[Exception]) -> None:
        """A protocol's connection ended in this way."""
        self.assertIsNotNone(protocol.lost)
        self.assertIs(protocol.lost.type, kind)

    def test_close(self) -> None:
        """What was written before loseConnection arrives, and both ends are done cleanly."""
        client, server = self.connect()
        client.transport.write(bytes(500_000))
        client.transport.loseConnection()
        self.internet.run(5)
        self.assertEqual(len(server.received), 500_000)
        self.assert_lost(client, ConnectionDone)
        self.assert_lost(server, ConnectionDone)

    def test_abort(self) -> None:
        """abortConnection drops everything."""
        client, server = self.connect()
        client.transport.write(bytes(5000))
        client.transport.abortConnection()
        self.internet.run(5)
        self.assert_lost(client, ConnectionAborted)
        self.assert_lost(server, ConnectionLost)

    def test_half_close(self) -> None:
        """loseWriteConnection ends one direction; the other goes on."""
        self.serving.kind = HalfCloseable
        client, server = self.connect(HalfCloseable())
        client.transport.write(b"request")
        client.transport.loseWriteConnection()
        self.internet.run(1)
        self.assertEqual((client.ended, server.ended), (["write"], ["read"]))
        server.transport.write(b"answer")
        server.transport.loseConnection()
        self.internet.run(1)
        self.assertEqual(client.received, b"answer")
        self.assertEqual(client.ended, ["write", "read"])

    def test_kill(self) -> None:
        """A killed server's connections are reset."""
        client, server = self.connect()
        self.server.kill()
        self.internet.run(1)
        self.assert_lost(client, ConnectionLost)
        self.assertIsNone(server.lost, "a killed process hears nothing")

    def test_crash(self) -> None:
        """A crashed server is noticed by who writes, when it is back or after the retries."""
        client, _ = self.connect()
        self.server.crash()
        client.transport.write(b"anybody?")
        self.internet.run(20)
        self.assertIsNone(client.lost)
        self.server.boot()
        self.internet.run_until(lambda: client.lost, 30)
        self.assert_lost(client, ConnectionLost)

    def test_nat_forgets(self) -> None:
        """A NAT that lost its mappings leaves the server with a segment from a stranger."""
        second = self.nat.host()
        client, _ = self.connect()
        self.nat.roam("198.51.100.99")
        client.transport.write(b"still me")
        self.internet.run(5)
        self.assert_lost(client, ConnectionLost)
        self.assertEqual(second.getDelayedCalls(), [])

    def test_move(self) -> None:
        """A machine that moved away cannot use its old connections."""
        client, server = self.connect()
        self.laptop.move_to(self.internet, "198.51.100.50")
        client.transport.write(b"still me")
        self.internet.run(10)
        self.assertEqual(server.received, b"")
        self.internet.run(2000)
        self.assertIsNotNone(client.lost)

    def test_outage(self) -> None:
        """An outage of ten seconds costs time, but no byte."""
        client, server = self.connect()
        self.nat.block(tcp_port=80)
        client.transport.write(bytes(300_000))
        self.internet.run(10)
        self.nat.unblock(tcp_port=80)
        self.internet.run_until(lambda: len(server.received) == 300_000, 30)
        self.assertIsNone(client.lost)

    def test_protocol_fails(self) -> None:
        """A protocol's exception is logged and ends its connection, as in Twisted."""

        class Broken(Collect):
            def dataReceived(self, data: bytes) -> None:
                raise RuntimeError("broken")

        self.serving.kind = Broken
        client, server = self.connect()
        client.transport.write(b"?")
        self.internet.run(1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assert_lost(server, ConnectionLost)
        self.assertIsNotNone(client.lost)

    def test_nothing_stays(self) -> None:
        """After the end neither machine remembers anything of it."""
        client, _ = self.connect()
        client.transport.loseConnection()
        self.internet.run(500)
        for host in (self.laptop, self.server):
            self.assertEqual(host.getDelayedCalls(), [])
            self.assertEqual(host.sockets._connections, {})
            self.assertEqual(host.sockets._streams, {})
            self.assertEqual(host.sockets._armed, {})


class FlowTests(Case):
    """Back-pressure reaches from a reader that pauses to a producer that writes."""

    def test_paused_reader(self) -> None:
        """The producer is paused while the reader is, and nothing is lost when both go on."""
        client, server = self.connect()
        server.transport.pauseProducing()
        fountain = Fountain(client.transport)
        client.transport.registerProducer(fountain, True)
        fountain.resumeProducing()
        self.internet.run(60)
        held = fountain.written
        self.assertEqual(server.received, b"")
        self.assertLess(held, 1_000_000)
        self.internet.run(60)
        self.assertEqual(fountain.written, held, "more was taken though nobody reads")
        server.transport.resumeProducing()
        self.internet.run(1)
        self.assertGreater(fountain.written, 2 * held)
        fountain.pauseProducing()
        client.transport.unregisterProducer()
        self.internet.run(5)
        self.assertEqual(len(server.received), fountain.written)

    def test_producer_is_stopped(self) -> None:
        """When the connection is lost its producer is told."""
        client, _ = self.connect()
        fountain = Fountain(client.transport)
        client.transport.registerProducer(fountain, True)
        self.server.kill()
        self.internet.run(1)
        self.assertTrue(fountain.stopped)

    def test_lossy_line(self) -> None:
        """Over a line that loses and reorders, an echo of a megabyte is exact."""
        self.internet.link.loss = 0.03
        self.internet.link.jitter = 0.01
        self.serving.kind = Echo
        client, _ = self.connect()
        data = self.internet.random.randbytes(1_000_000)
        client.transport.write(data)
        self.internet.run_until(lambda: len(client.received) == len(data), 300)
        self.assertEqual(bytes(client.received), data)
