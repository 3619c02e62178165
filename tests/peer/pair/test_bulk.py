"""Tests for :mod:`tunnelmesh.peer.pair.bulk`: what two peers agree on, and what that carries."""

from __future__ import annotations

from random import Random
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet
from twisted.trial.unittest import SynchronousTestCase

from tests.bulk.packets import super_packet
from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.lab.sim.mesh import SimulatedPeer
from tunnelmesh.peer import members
from tunnelmesh.peer.pair.bulk import CONFIRM, REPORT_INTERVAL, STREAM_DATAGRAM, Bulk, abilities
from tunnelmesh.wire import control
from tunnelmesh.wire.control import Abilities, Arrivals
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.record import AES_256_GCM, AES_256_OCB, CHACHA20_POLY1305

WAY = Endpoint("192.0.2.1", 4242)
FULL = 1452
QUICK = (CHACHA20_POLY1305, AES_256_GCM, AES_256_OCB)


class FakeTunnel:
    """A tunnel by which something has arrived."""

    arrivals: tuple[Any, int, int] = ("session", 10, 9)


def bulk(ours: Abilities) -> Bulk:
    """One side."""
    return Bulk(FakeTunnel(), ours, whole=True)  # type: ignore[arg-type]


class AgreementTests(SynchronousTestCase):
    """Two sides that tell each other what they can do."""

    def setUp(self) -> None:
        self.here = bulk(abilities(QUICK, form="auto"))

    def test_nothing_told(self) -> None:
        """A peer that says nothing, as a stock WireGuard, is sent packets."""
        self.assertIsNone(self.here.form(WAY, FULL, 0))

    def test_ciphers(self) -> None:
        """The quickest of those that both are quick at; ChaCha20-Poly1305, if there is none."""
        for theirs, cipher in (
            (QUICK, AES_256_OCB),
            ({CHACHA20_POLY1305, AES_256_GCM}, AES_256_GCM),
            ({CHACHA20_POLY1305}, CHACHA20_POLY1305),
            ((), CHACHA20_POLY1305),
        ):
            self.here.told(abilities(theirs, form="auto"))
            form = self.here.form(WAY, FULL, 0)
            assert form is not None
            self.assertEqual((form.cipher, form.whole, form.datagram), (cipher, False, FULL))

    def test_packets_only(self) -> None:
        """Told to keep to packets, a side neither sends records nor asks for them."""
        silent = bulk(abilities(QUICK, form="packets"))
        self.assertEqual(silent.established(0), [])
        self.assertEqual(silent.question(0), ())
        self.assertEqual(silent.told(Abilities(1, 3, asks=True)), [])
        self.assertIsNone(silent.form(WAY, FULL, 0))
        self.here.told(abilities(QUICK, form="packets"))
        self.assertIsNone(self.here.form(WAY, FULL, 0))

    def test_asking(self) -> None:
        """Who has bulk to send and was told nothing asks, now and then; an answer ends it."""
        (question,) = self.here.question(0)
        self.assertEqual(self.here.question(0.1), ())
        self.assertEqual(len(self.here.question(0.6)), 1)
        there = bulk(abilities(QUICK, form="auto"))
        asked = control.decode(question)
        assert isinstance(asked, Abilities)
        (answer,) = there.told(asked)
        told = control.decode(answer)
        assert isinstance(told, Abilities)
        self.assertEqual(self.here.told(told), [])
        self.assertEqual(self.here.question(9), ())

    def test_confirmed_by_each_session(self) -> None:
        """A peer that says nothing more after a handshake is an older version by now."""
        self.here.told(abilities(QUICK, form="auto"))
        self.here.established(10)
        self.assertIsNotNone(self.here.form(WAY, FULL, 10 + CONFIRM / 2))
        self.assertIsNone(self.here.form(WAY, FULL, 10.1 + CONFIRM))

    def test_streams(self) -> None:
        """Inside a TCP connection no datagram is lost alone: whole records, in large pieces."""
        self.here.told(abilities(QUICK, form="auto"))
        form = self.here.form("relay", None, 0)
        assert form is not None
        self.assertEqual((form.whole, form.datagram), (True, STREAM_DATAGRAM))

    def test_reports(self) -> None:
        """What has arrived is told, but not more often than is of use."""
        (report,) = self.here.arrived(0)
        self.assertEqual(control.decode(report), Arrivals(10, 9))
        self.assertEqual(self.here.arrived(REPORT_INTERVAL / 2), ())
        self.assertEqual(len(self.here.arrived(REPORT_INTERVAL * 2)), 1)


class WrittenDevice:
    """A device that keeps what is written to it."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def write_bulk(self, packet: memoryview) -> None:
        """Keep the packets of a super-packet."""
        buffer = bytearray(packet)
        whole = SuperPacket.read(buffer, 0, len(buffer)) if buffer[1] else None
        self.packets += [bytes(buffer[10:])] if whole is None else whole.packets()

    def write(self, packets: Any) -> None:
        """Keep packets."""
        self.packets += packets

    def start(self, user: Any) -> None:
        """Nothing arrives by itself."""

    def stop(self) -> None:
        """Nothing to close."""


class TrafficTests(WorldTestCase):
    """Super-packets between two peers on the simulated internet."""

    def between(self, here: SimulatedPeer, there: SimulatedPeer) -> tuple[Packet, Packet]:
        """Headers from one to the other, over IPv4 and IPv6."""
        to, of = remote(here, "there"), remote(there, "here")
        return (
            IP(src=str(of.address), dst=str(to.address)) / TCP(flags="A"),
            IPv6(src=str(of.address6), dst=str(to.address6)) / TCP(flags="A"),
        )

    def send(self, here: SimulatedPeer, there: SimulatedPeer, times: int = 3) -> int:
        """Send super-packets of both kinds; all must arrive whole and in order.

        :returns: how many packets they were.
        """
        device = WrittenDevice()
        node(there).mesh.switch.use(device)  # type: ignore[arg-type]
        expected: list[bytes] = []
        for number in range(times):
            for headers in self.between(here, there):
                packet = super_packet(headers, Random(number).randbytes(40_000), 1300)
                expected += packet.packets()
                node(here).mesh.switch.bulk_leaving(packet)
                self.internet.run(0.3)
        self.assertEqual(device.packets, expected)
        return len(expected)

    def test_direct(self) -> None:
        """Over UDP, in segments."""
        here, there = self.pair()
        packets = self.send(here, there)
        tunnel = remote(there, "here").tunnel
        self.assertGreaterEqual(tunnel.rx_bytes, 6 * 40_000)
        self.assertGreaterEqual(tunnel.arrivals[1], packets)

    def test_relayed(self) -> None:
        """Through the coordinator, whole."""
        here, there = self.pair("symmetric", "symmetric", way="ssh")
        packets = self.send(here, there)
        self.assertLess(remote(there, "here").tunnel.arrivals[1], packets / 4)

    def test_to_a_peer_without_records(self) -> None:
        """To one that keeps to WireGuard's packets, as those."""
        here, there = self.add("here"), self.add("there", bulk="packets")
        self.until(lambda: here.path_to("there") == "udp" == there.path_to("here"))
        self.send(here, there)

    def test_to_a_peer_that_restarted(self) -> None:
        """Records for a session that the other end has lost make it shake hands soon."""
        here, there = self.pair("full-cone", "full-cone")
        self.send(here, there, times=1)
        headers, _ = self.between(here, there)
        self.patch(members, "EAGER", 0)  # as in a large mesh, where nobody speaks unasked
        there.host.crash()
        there.host.boot()
        there.start()
        self.until(lambda: there.node, limit=5)
        device = WrittenDevice()
        node(there).mesh.switch.use(device)  # type: ignore[arg-type]
        for _ in range(20):
            node(here).mesh.switch.bulk_leaving(super_packet(headers, bytes(40_000), 1300))
            self.internet.run(0.1)
        self.assertGreater(len(device.packets), 0)

    def test_strangers_addresses(self) -> None:
        """A super-packet from, or to, an address that is not the two ends' own is dropped."""
        here, there = self.pair()
        self.send(here, there, times=1)
        device = WrittenDevice()
        node(there).mesh.switch.use(device)  # type: ignore[arg-type]
        four, six = self.between(here, there)
        four.src = "100.96.9.9"
        six.src = "fd00::9"
        for headers in (four, six):
            packet = super_packet(headers, bytes(9000), 1300)
            remote(here, "there").send_bulk(packet)
            self.internet.run(0.3)
        self.assertEqual(device.packets, [])
        dropped = node(there).mesh.dropped["not between the two ends' own addresses"]
        self.assertGreaterEqual(dropped, 2)

    def test_to_nobody(self) -> None:
        """A super-packet to an address that no member has is counted."""
        here, _ = self.pair()
        headers = IP(src="100.96.0.1", dst="100.96.200.200") / TCP(flags="A")
        node(here).mesh.switch.bulk_leaving(super_packet(headers, bytes(9000), 1300))
        self.assertEqual(node(here).mesh.dropped["no such mesh address"], 7)
