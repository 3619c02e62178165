"""Paths that do not carry what the device takes, on the simulated internet."""

from twisted.internet.protocol import ClientFactory, Factory, Protocol

from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh.lab.sim import Link
from tunnelmesh.lab.sim.mesh import SimulatedPeer
from tunnelmesh.paths.path_mtu import STEP
from tunnelmesh.peer.answers.verdict import explain
from tunnelmesh.peer.pair.carrier import OVERHEAD
from tunnelmesh.wire.ip import checksum

UDP_AND_IP = 28


class NarrowPathTestCase(WorldTestCase):
    """Two peers, relayed so far, and a line between them that can be made narrow.

    It is the same line for the coordinator's link, which TCP would keep within it on a real one.
    """

    bulk = "auto"

    def setUp(self) -> None:
        super().setUp()
        self.here, self.there = (self.add(name, bulk=self.bulk) for name in ("here", "there"))
        self.nats[1].block(udp=True)
        self.until(lambda: self.here.path_to("there") and self.there.path_to("here"))
        assert self.here.inner is not None
        assert self.there.inner is not None
        self.inner_here, self.inner_there = self.here.inner, self.there.inner

    def narrow(self, mtu: int) -> None:
        """Make one gateway's line lose what is longer."""
        self.nats[1].uplink = Link(mtu=mtu)

    def direct(self) -> None:
        """Let UDP pass, and wait for a direct path."""
        self.nats[1].unblock(udp=True)
        both = ((self.here, "there"), (self.there, "here"))
        self.until(lambda: all(peer.path_to(name) == "udp" for peer, name in both))

    def mtu(self, peer: SimulatedPeer) -> object:
        """What the status tells."""
        (told,) = peer.status()["peers"]
        return told["path"]["mtu"]

    def ping(self, size: int) -> None:
        """An echo of *size* bytes of data comes back."""
        answered = self.inner_here.ping(self.inner_there.address, size=size)
        self.internet.run(1.0)
        self.successResultOf(answered)


class NarrowPathTests(NarrowPathTestCase):
    """Narrow paths are used for what they carry."""

    def test_narrow_from_the_start(self) -> None:
        """A path of 1280 bytes is taken, and known for what it is; long packets pass in parts."""
        self.narrow(1280)
        self.direct()
        self.internet.run(3.0)
        self.assertEqual((1280 - UDP_AND_IP) // STEP * STEP - OVERHEAD, self.mtu(self.here))
        self.ping(56)
        self.ping(1392)
        self.assertEqual("udp", self.here.path_to("there"))

    def test_wide_path(self) -> None:
        """A usual path carries what the device takes, from the first moment."""
        self.direct()
        self.assertEqual(1420, self.mtu(self.here))
        self.ping(1392)

    def test_relayed_path(self) -> None:
        """A relayed path has no limit."""
        self.assertIsNone(self.mtu(self.here))
        self.ping(1392)

    def test_black_hole(self) -> None:
        """When long datagrams begin to get lost the path stays, narrower, and the history says."""
        self.direct()
        self.ping(1392)
        self.narrow(1300)
        for _ in range(2):  # the first is lost on the way, the second on the way back
            lost = self.inner_here.ping(self.inner_there.address, size=1392)
            lost.addErrback(lambda _: None)
            self.internet.run(4.0)
        self.assertEqual((1300 - UDP_AND_IP) // STEP * STEP - OVERHEAD, self.mtu(self.here))
        self.assertEqual("udp", self.here.path_to("there"))
        self.assertIn("bytes are lost", remote(self.here, "there").history.changes[-1].cause)
        self.ping(1392)

    def test_stream_through_a_black_hole(self) -> None:
        """A stream under way goes on, and nothing of it is lost."""
        self.direct()
        received = bytearray()

        class Sink(Protocol):
            def dataReceived(self, data: bytes) -> None:
                received.extend(data)

        class Source(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(content)  # type: ignore[call-arg]

        content = self.internet.entropy(300_000)
        self.inner_there.listenTCP(80, Factory.forProtocol(Sink))
        source = ClientFactory.forProtocol(Source)
        self.inner_here.connectTCP(self.inner_there.address, 80, source)
        self.internet.run(0.2)
        self.assertGreater(len(received), 0)
        self.narrow(1300)
        begun = len(received)
        self.internet.run(2.0)
        self.assertGreater(len(received), begun)
        self.internet.run(20.0)
        self.assertEqual(content, bytes(received))

    def test_kernel_is_told(self) -> None:
        """The kernel learns, from the remote peer's address, what the path carries."""
        self.narrow(1280)
        self.direct()
        self.internet.run(3.0)
        written: list[bytes] = []
        device = node(self.here).mesh.switch.device
        assert device is not None
        self.patch(device, "write", written.extend)
        pinged = self.inner_here.ping(self.inner_there.address, size=1392)
        pinged.addErrback(lambda _: None)
        self.internet.run(0.1)
        told = [packet for packet in written if packet[9] == 1 and packet[20] == 3]
        self.assertEqual(len(told), 1)
        self.assertEqual(told[0][20:22], b"\x03\x04")
        self.assertEqual(int.from_bytes(told[0][26:28], "big"), self.mtu(self.here))
        self.assertEqual(checksum(told[0][:20]), 0)
        self.assertEqual(checksum(told[0][20:]), 0)

    def test_too_narrow(self) -> None:
        """A path that carries less than the base is not taken, and the explanation says why."""
        self.narrow(1000)
        self.nats[1].unblock(udp=True)
        self.internet.run(10.0)
        self.assertNotEqual("udp", self.here.path_to("there"))
        told = explain(remote(self.here, "there"), node(self.here).describe(), {})
        self.assertTrue([line for line in told.evidence if "those of 1200 bytes" in line])


class WithoutRecordsTests(NarrowPathTestCase):
    """Two peers that keep to WireGuard's packets."""

    bulk = "packets"

    def test_long_packets(self) -> None:
        """What is too long is dropped and counted, and the kernel told."""
        self.narrow(1280)
        self.direct()
        self.internet.run(3.0)
        self.ping(1100)
        device = node(self.here).mesh.switch.device
        assert device is not None
        written: list[bytes] = []
        self.patch(device, "write", written.extend)
        before = node(self.here).tunnel_counters["unsent_packets"]
        pinged = self.inner_here.ping(self.inner_there.address, size=1392)
        pinged.addErrback(lambda _: None)
        self.internet.run(0.1)
        self.assertEqual(node(self.here).tunnel_counters["unsent_packets"], before + 1)
        self.assertEqual([packet[20:22] for packet in written], [b"\x03\x04"])
