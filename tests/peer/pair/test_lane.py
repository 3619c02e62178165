"""Tests for :mod:`tunnelmesh.peer.pair.lane`: taken while nothing changes, and no longer."""

from __future__ import annotations

from random import Random

from scapy.layers.inet import IP, TCP

from tests.bulk.packets import super_packet
from tests.peer.pair.test_bulk import WrittenDevice
from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.lab.sim.mesh import SimulatedPeer
from tunnelmesh.paths.selection import RELAY
from tunnelmesh.peer.pair.guard import Guard
from tunnelmesh.peer.pair.lane import Lane
from tunnelmesh.peer.pair.remote import LOOK
from tunnelmesh.policy.ports import Reach
from tunnelmesh.wire.control import Arrivals
from tunnelmesh.wire.virtio import HEADER_SIZE as VIRTIO_SIZE

SIZE = 40_000


class LaneTestCase(WorldTestCase):
    """Two peers that have met, and whose session is used."""

    def setUp(self) -> None:
        super().setUp()
        self.here, self.there = self.pair()
        self.device = WrittenDevice()
        node(self.there).mesh.switch.use(self.device)  # type: ignore[arg-type]
        self.send()

    def lane(self, peer: SimulatedPeer | None = None) -> Lane | None:
        """That of one side, towards the other."""
        return remote(self.there, "here").lane if peer else remote(self.here, "there").lane

    def packet(self, seed: int = 0) -> SuperPacket:
        """A super-packet from here to there."""
        to, of = remote(self.here, "there"), remote(self.there, "here")
        headers = IP(src=str(of.address), dst=str(to.address)) / TCP(flags="A")
        return super_packet(headers, Random(seed).randbytes(SIZE), 1300)

    def send(self, seed: int = 0) -> None:
        """Send one as the kernel does, and let it arrive."""
        packet = self.packet(seed)
        expected = packet.packets()
        switch = node(self.here).mesh.switch
        lane = switch.lanes.get(remote(self.here, "there").address.packed)
        if lane is None:
            switch.bulk_leaving(packet)
        else:
            memory = memoryview(packet.buffer)
            start = packet.start + VIRTIO_SIZE
            now = self.internet.clock.seconds()
            lane.carry(memory, start, packet.stop, packet.segment_size, now)
        self.device.packets.clear()
        self.internet.run(0.3)
        self.assertEqual(self.device.packets, expected)

    def go_whole(self) -> None:
        """The path has shown to be clean."""
        to = remote(self.here, "there")
        to._carrier.bulk.carriage.whole = True
        to.arrivals_received(Arrivals(0, 0))


class LaidTests(LaneTestCase):
    """When there is a lane."""

    def test_direct(self) -> None:
        """It leads where the ladder does, at both ends, and stays while nothing happens."""
        lane = self.lane()
        assert lane is not None
        self.assertEqual(lane.course.way, remote(self.here, "there").ladder.current)
        self.assertIsNotNone(self.lane(self.there))
        self.send(1)
        self.assertIs(self.lane(), lane)

    def test_what_passed_is_known(self) -> None:
        """Within a moment the tunnel and the path know of everything."""
        to, of = remote(self.here, "there"), remote(self.there, "here")
        before, heard = of.tunnel.rx_bytes, of.ladder.health
        sent = to.tunnel.tx_bytes
        assert heard is not None
        at = heard.heard_at
        self.send(1)
        self.internet.run(2 * LOOK)
        self.assertGreaterEqual(of.tunnel.rx_bytes - before, SIZE)
        self.assertGreaterEqual(to.tunnel.tx_bytes - sent, SIZE)
        self.assertGreater(heard.heard_at, at)

    def test_doubt(self) -> None:
        """While the path is in doubt there is none; by the relay there is another one."""
        self.nats[0].block(udp=True)
        for port in (3478, 3479):  # nor shall there be a direct path over TCP
            self.nats[0].block(tcp_port=port)
        lanes = [self.lane()]
        for _ in range(40):
            node(self.here).mesh.switch.bulk_leaving(self.packet())
            self.internet.run(0.05)
            lanes.append(self.lane())
        self.assertIn(None, lanes)
        lane = self.lane()
        assert lane is not None
        self.assertEqual(lane.course.way, RELAY)

    def test_forgotten_peer(self) -> None:
        """Nothing leads to who is no member any more."""
        self.go_whole()
        self.assertNotEqual(node(self.here).mesh.switch.lanes, {})
        remote(self.here, "there").forget()
        self.assertIsNone(self.lane())
        self.assertEqual(node(self.here).mesh.switch.lanes, {})


class ExpressTests(LaneTestCase):
    """Super-packets straight from the device, and records straight from the socket."""

    def test_clean_path(self) -> None:
        """Only where records go whole; over IPv4 and IPv6 alike."""
        lanes = node(self.here).mesh.switch.lanes
        self.assertEqual(lanes, {})
        self.go_whole()
        to = remote(self.here, "there")
        self.assertEqual(set(lanes), {to.address.packed, to.address6.packed})
        self.send(1)
        self.assertEqual(self.lane(), lanes[to.address.packed])

    def test_rules(self) -> None:
        """What somebody wants to see goes by no express lane, from that moment on."""
        self.go_whole()
        remote(self.here, "there").examine(Guard(Reach.of(["tcp/22"])))
        self.assertEqual(node(self.here).mesh.switch.lanes, {})
        remote(self.here, "there").examine(None)
        self.assertNotEqual(node(self.here).mesh.switch.lanes, {})

    def test_records(self) -> None:
        """A record of the lane's session is taken from where the lane leads, and nowhere else; a
        forged one is counted."""
        self.go_whole()
        here, there = self.lane(), self.lane(self.there)
        assert here is not None
        assert there is not None
        packet = self.packet(7)
        expected = packet.packets()
        form = here.course.form
        assert form is not None
        run = here.course.session.seal_record(packet, form)
        record = b"".join(run.buffers)
        switch = node(self.there).mesh.switch
        source = tuple(there.course.way)
        self.device.packets.clear()

        def received(data: bytes, place: tuple[object, ...]) -> bool:
            return switch.record_received(memoryview(bytearray(data)), run.segment, place)

        self.assertFalse(received(record, ("192.0.2.99", 9)))
        self.assertFalse(received(record[:4] + b"else" + record[8:], source))
        self.assertEqual(self.device.packets, [])
        counters = node(self.there).tunnel_device.counters
        self.assertTrue(received(record[:-1] + bytes([record[-1] ^ 1]), source))
        self.assertEqual((self.device.packets, counters.forged_packets), ([], 1))
        self.assertTrue(received(record, source))
        self.assertEqual(self.device.packets, expected)
        self.assertTrue(received(record, source))
        self.assertEqual(counters.replayed_packets, 1)
        self.assertEqual(self.device.packets, expected)
