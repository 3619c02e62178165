"""Records that never become whole, thrown at a peer's port: they cost a fixed amount of memory."""

# mypy: allow-untyped-calls

from __future__ import annotations

import gc
import tracemalloc
from itertools import count
from random import Random

from scapy.layers.inet import IP, TCP
from twisted.internet.protocol import DatagramProtocol

from tests.bulk.packets import super_packet
from tests.peer.pair.test_bulk import WrittenDevice
from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh.noise.reassembly import MAX_PENDING, MAX_SIZE
from tunnelmesh.wire.record import AES_256_GCM, prefix

PARTS = 44
CHUNK = 1400
"""A record's number of parts, and bytes of each."""

RECORDS = 100
"""Incomplete ones in a flood: three times as many as are kept, and more datagrams in all than the
simulation keeps for its own story."""

GROWTH = 300_000
"""Bytes by which two floods may differ: garbage, for the rest of two seconds. Each sends 6 MB."""


class RecordFloodTests(WorldTestCase):
    """The victim is behind a gateway that lets everybody's datagrams in."""

    def setUp(self) -> None:
        super().setUp()
        self.here, self.there = self.pair("full-cone", "port-restricted")
        self.stranger = DatagramProtocol()
        self.internet.host("203.0.113.66", name="stranger").listenUDP(4000, self.stranger)
        self.counter, self.random = count(1 << 40), Random(6)
        self.counters = node(self.here).tunnel_device.counters

    def flood(self, index: bytes, parts: int) -> None:
        """Send records, of each of which some parts never come."""
        external = node(self.here).network.behaviour.external
        assert external is not None
        assert self.stranger.transport is not None
        for _ in range(RECORDS):
            sequence = next(self.counter).to_bytes(8, "little")
            for position in range(parts):
                header = prefix(position, PARTS, AES_256_GCM, index) + sequence
                datagram = header + self.random.randbytes(CHUNK)
                self.stranger.transport.write(datagram, (external.host, external.port))
            self.internet.run(0.02)
        self.internet.run(0.2)

    def used(self) -> int:
        """Bytes in use."""
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    def tables(self) -> list[int]:
        """How long the victim's tables are."""
        here = node(self.here)
        local = here.tunnel_device._local
        return [len(local.indices), len(here.mesh.members.remotes), len(here.mesh.dropped)]

    def assert_well(self) -> None:
        """The path is the one it was, and super-packets still arrive."""
        self.assertEqual((self.here.path_to("there"), self.there.path_to("here")), ("udp", "udp"))
        device = WrittenDevice()
        node(self.here).mesh.switch.use(device)  # type: ignore[arg-type]
        source, destination = remote(self.here, "there").address, node(self.here).membership.address
        headers = IP(src=str(source), dst=str(destination)) / TCP(flags="A")
        packet = super_packet(headers, Random(1).randbytes(40_000), 1300)
        expected = packet.packets()
        node(self.there).mesh.switch.bulk_leaving(packet)
        self.internet.run(0.3)
        self.assertEqual(device.packets, expected)

    def test_for_no_session(self) -> None:
        """Parts for a session that there is not are counted, and not kept."""
        tables = self.tables()
        self.flood(b"none", PARTS - 1)
        self.assertEqual(self.counters.unknown_index, RECORDS * (PARTS - 1))
        self.assertEqual(self.tables(), tables)
        self.assertIsNone(node(self.here).tunnel_device._local._bulk)
        self.assert_well()

    def test_for_a_session(self) -> None:
        """Parts that name a session are kept up to a limit, and go as others come."""
        self.assert_well()
        session = remote(self.here, "there").tunnel._keys.current
        assert session is not None
        reassembly = node(self.here).tunnel_device._local.buffers().reassembly
        tables = self.tables()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        used = []
        for _ in range(2):
            self.flood(session.local, PARTS - 1)
            self.assertEqual(len(reassembly._pending), MAX_PENDING)
            kept = sum(each.size for each in reassembly._pending.values())
            self.assertLessEqual(kept, MAX_PENDING * MAX_SIZE)
            used.append(self.used())
        self.assertLess(used[1] - used[0], GROWTH)
        self.assertEqual(reassembly.lost, 2 * RECORDS - MAX_PENDING)
        self.assertEqual(self.tables(), tables)
        self.assert_well()

    def test_forged(self) -> None:
        """Whole ones that nobody has sealed are counted, and their sender is no path."""
        self.assert_well()
        session = remote(self.here, "there").tunnel._keys.current
        assert session is not None
        self.flood(session.local, PARTS)
        self.assertEqual(self.counters.forged_packets, RECORDS)
        self.assertEqual(len(node(self.here).tunnel_device._local.buffers().reassembly._pending), 0)
        self.assert_well()
