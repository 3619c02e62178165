"""Tests for :mod:`tunnelmesh.peer.pair.guard` and :mod:`tunnelmesh.policy.header`.

With packets as Scapy makes them: of all sorts, also such as are meant to get past.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import GRE, ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_Redirect,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.packet import Packet, Raw
from twisted.trial.unittest import SynchronousTestCase

from tests.bulk.packets import MARGIN, TIMESTAMPS, super_packet, super_packets
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.peer.pair.guard import (
    ANSWERED_WITHIN,
    MOST_FLOWS,
    MOST_REFUSALS,
    NOT_ALLOWED,
    UNREADABLE,
    Guard,
)
from tunnelmesh.policy.ports import Reach
from tunnelmesh.wire.virtio import HEADER_SIZE

NOW = 1000.0
THEIRS, OURS = "100.96.0.1", "100.96.0.2"
V4 = IP(src=THEIRS, dst=OURS)
V6 = IPv6(src="fd00::1", dst="fd00::2")
PAD = [PadN(optdata=b"1234")]
OPTIONS = IPv6ExtHdrHopByHop(options=PAD) / IPv6ExtHdrDestOpt(options=PAD)
QUESTION = bytes(IP() / UDP() / Raw(b"?"))
CARRIERS = (V4, IP(src=THEIRS, dst=OURS, options=b"\x01\x01\x01\x00"), V6, V6 / OPTIONS)
"""What TCP and the others come in."""


class GuardTestCase(SynchronousTestCase):
    """A guard that lets pass TCP to 22, UDP to 5000 to 5100, and nothing else."""

    words: tuple[str, ...] = ("tcp/22", "udp/5000-5100")

    def setUp(self) -> None:
        self.guard = Guard(Reach.of(self.words))
        self.dropped: Counter[str] = Counter()

    def passes(self, packet: Packet | bytes, now: float = NOW) -> bool:
        """What the guard says; it must say the same wherever the packet lies in a buffer."""
        data = bytes(packet)
        behind = memoryview(b"\xff" * HEADER_SIZE + data)
        said = self.guard.passes(behind, HEADER_SIZE, now, self.dropped)
        before = sum(self.dropped.values())
        alone = bool(self.guard.allowed([data], now, self.dropped))
        self.assertEqual(said, alone)
        self.assertEqual(sum(self.dropped.values()) - before, not said)
        return said

    def assert_verdicts(self, verdicts: list[tuple[Packet, bool]]) -> None:
        """Each packet passes or not, as told, by whatever carries it."""
        for packet, passes in verdicts:
            for carrier in CARRIERS:
                self.assertEqual(self.passes(carrier / packet), passes, repr(carrier / packet))


class ProtocolTests(GuardTestCase):
    """Which packets pass."""

    def test_tcp(self) -> None:
        """What opens a connection passes to an allowed port only; what is part of one passes."""
        self.assert_verdicts(
            [
                (TCP(dport=22, flags="S"), True),
                (TCP(dport=22, flags="SEC"), True),
                (TCP(dport=22, flags="S", options=TIMESTAMPS), True),
                (TCP(dport=23, flags="S"), False),
                (TCP(dport=23, flags="SEC"), False),
                (TCP(dport=23, flags="SPU"), False),
                (TCP(dport=23, flags="S", options=TIMESTAMPS), False),
                (TCP(dport=23, flags="S") / Raw(b"fast open"), False),
                (TCP(sport=22, dport=23, flags="S"), False),
                (TCP(dport=23, flags="SR"), False),
                (TCP(dport=23, flags="SF"), False),
                (TCP(dport=23, flags="SA"), True),
                (TCP(dport=23, flags="A"), True),
                (TCP(dport=23, flags="PA") / Raw(b"data"), True),
                (TCP(dport=23, flags="FA"), True),
                (TCP(dport=23, flags="R"), True),
                (TCP(dport=23, flags="RA"), True),
                (TCP(dport=23, flags=""), False),
                (TCP(dport=22, flags=""), False),
                (TCP(dport=22, flags="F"), False),
                (TCP(dport=22, flags="FPU"), False),
            ]
        )

    def test_udp(self) -> None:
        """Unasked to an allowed port only."""
        self.assert_verdicts(
            [
                (UDP(dport=5000), True),
                (UDP(dport=5100) / Raw(b"data"), True),
                (UDP(dport=5101), False),
                (UDP(dport=4999), False),
                (UDP(sport=5000, dport=22), False),
            ]
        )

    def test_icmp(self) -> None:
        """Errors and replies; no requests, and no redirects."""
        for packet, passes in [
            (V4 / ICMP(type=0), True),
            (V4 / ICMP(type=3, code=4) / V4 / UDP(), True),
            (V4 / ICMP(type=11), True),
            (V4 / ICMP(type=8), False),
            (V4 / ICMP(type=5) / V4 / UDP(), False),
            (V4 / ICMP(type=13), False),
            (V6 / ICMPv6EchoReply(), True),
            (V6 / ICMPv6DestUnreach(), True),
            (V6 / ICMPv6PacketTooBig(), True),
            (V6 / ICMPv6TimeExceeded(), True),
            (V6 / ICMPv6EchoRequest(), False),
            (V6 / OPTIONS / ICMPv6EchoRequest(), False),
            (V6 / ICMPv6ND_Redirect(), False),
        ]:
            self.assertEqual(self.passes(packet), passes, repr(packet))

    def test_others(self) -> None:
        """Other protocols do not pass."""
        self.assert_verdicts([(GRE() / V4 / TCP(dport=22), False)])
        for protocol in (0, 4, 41, 43, 44, 50, 51, 59, 60, 132, 136, 255):
            self.assertFalse(self.passes(IP(src=THEIRS, dst=OURS, proto=protocol) / Raw(bytes(40))))
            if protocol not in (0, 44, 60):
                self.assertFalse(self.passes(IPv6(nh=protocol) / Raw(bytes(40))), protocol)

    def test_nothing_allowed(self) -> None:
        """Where nothing is allowed, answers still pass."""
        self.guard.reach = Reach.of([])
        self.assert_verdicts(
            [
                (TCP(dport=22, flags="S"), False),
                (TCP(dport=22, flags="SA"), True),
                (UDP(dport=5000), False),
            ]
        )

    def test_streams(self) -> None:
        """A stream is opened where a TCP connection may be."""
        self.assertTrue(self.guard.admits(22, NOW, self.dropped))
        self.assertFalse(self.guard.admits(5000, NOW, self.dropped))
        self.assertEqual(self.dropped, {NOT_ALLOWED: 1})
        self.assertEqual(self.guard.refusals["tcp/5000"], (1, NOW))


class PingTests(GuardTestCase):
    """A guard that lets pings pass."""

    words = ("icmp",)

    def test_ping(self) -> None:
        """Echo requests pass, and nothing else does by it."""
        self.assertTrue(self.passes(V4 / ICMP(type=8)))
        self.assertTrue(self.passes(V6 / ICMPv6EchoRequest()))
        self.assertFalse(self.passes(V4 / ICMP(type=13)))
        self.assertFalse(self.passes(V4 / TCP(flags="S")))
        self.assertFalse(self.passes(V4 / UDP()))


class FragmentTests(GuardTestCase):
    """Packets in pieces."""

    def test_first(self) -> None:
        """The first piece is judged as the whole would be."""
        four = IP(src=THEIRS, dst=OURS, flags="MF")
        six = V6 / IPv6ExtHdrFragment(m=1)
        for carrier in (four, six, V6 / OPTIONS / IPv6ExtHdrFragment(m=1)):
            for packet, passes in [
                (UDP(dport=5000) / Raw(bytes(100)), True),
                (UDP(dport=22) / Raw(bytes(100)), False),
                (TCP(dport=22, flags="S") / Raw(bytes(100)), True),
                (TCP(dport=23, flags="S") / Raw(bytes(100)), False),
            ]:
                self.assertEqual(self.passes(carrier / packet), passes, repr(carrier / packet))

    def test_later(self) -> None:
        """A later one passes, unless it could lie over the header of the first."""
        for offset in range(1, 20):
            four = IP(src=THEIRS, dst=OURS, frag=offset, proto=6) / Raw(bytes(64))
            six = V6 / IPv6ExtHdrFragment(offset=offset, nh=6) / Raw(bytes(64))
            for packet in (four, six):
                self.assertEqual(self.passes(packet), offset >= 8, repr(packet))

    def test_tiny(self) -> None:
        """A first piece without the flags is dropped: they would come in the second, unseen."""
        tcp = bytes(TCP(dport=22, flags="S"))
        for size in range(14):
            for carrier in (
                IP(src=THEIRS, dst=OURS, flags="MF", proto=6),
                V6 / IPv6ExtHdrFragment(m=1, nh=6),
            ):
                self.assertFalse(self.passes(carrier / Raw(tcp[:size])), size)
        self.assertEqual(set(self.dropped), {UNREADABLE})

    def test_headers_in_fragments(self) -> None:
        """More headers inside the fragments do not pass: a later piece could lie over them."""
        for inner in (IPv6ExtHdrDestOpt(options=PAD), IPv6ExtHdrFragment(), IPv6ExtHdrHopByHop()):
            packet = V6 / IPv6ExtHdrFragment(m=1) / inner / TCP(dport=22, flags="S")
            self.assertFalse(self.passes(packet), repr(packet))


class HidingTests(GuardTestCase):
    """Packets that hide what they are."""

    def test_many_extensions(self) -> None:
        """So many headers are looked through, and no more."""
        for count, passes in [(7, True), (8, False), (100, False)]:
            packet = V6
            for _ in range(count):
                packet /= IPv6ExtHdrDestOpt(options=PAD)
            self.assertEqual(self.passes(packet / TCP(dport=22, flags="S")), passes)
            self.assertFalse(self.passes(packet / TCP(dport=23, flags="S")))

    def test_routing(self) -> None:
        """Routing headers do not pass."""
        routing = IPv6ExtHdrRouting(addresses=["fd00::3"])
        self.assertFalse(self.passes(V6 / routing / TCP(dport=22, flags="S")))

    def test_long_extension(self) -> None:
        """A header that says it ends behind the packet's end does not pass."""
        packet = bytearray(bytes(V6 / IPv6ExtHdrDestOpt(options=PAD) / TCP(dport=22, flags="S")))
        packet[41] = 255
        self.assertFalse(self.passes(bytes(packet)))

    def test_header_length(self) -> None:
        """Nor does an IPv4 header that is too short to be one, or longer than the packet."""
        packet = bytearray(bytes(V4 / TCP(dport=22, flags="S")))
        for words in (0, 4, 15):
            packet[0] = 0x40 | words
            self.assertFalse(self.passes(bytes(packet)), words)

    def test_options_shift_the_header(self) -> None:
        """The port is read behind the options, not where it would be without them."""
        decoy = bytes(TCP(dport=22, flags="A"))
        packet = IP(src=THEIRS, dst=OURS, options=b"\x88\x14" + decoy[:18])
        self.assertFalse(self.passes(packet / TCP(dport=23, flags="S")))

    @settings(derandomize=True, max_examples=100, deadline=None)
    @given(st.integers(0, 80), st.sampled_from(range(6)))
    def test_truncated(self, size: int, which: int) -> None:
        """Cut off anywhere, a packet passes or not, and if it passes its header is there."""
        packet = bytes(
            [
                V4 / TCP(dport=22, flags="S"),
                V4 / UDP(dport=5000),
                V4 / ICMP(type=0),
                V6 / TCP(dport=22, flags="S"),
                V6 / OPTIONS / UDP(dport=5000),
                V6 / OPTIONS / IPv6ExtHdrFragment() / TCP(dport=22, flags="S"),
            ][which]
        )
        self.guard = Guard(Reach.of(self.words))
        least = 20 if packet[0] >> 4 == 4 else 40
        cut = packet[: max(size, least)]
        if self.passes(cut):
            self.assertGreater(len(cut), len(packet) - 20)

    @settings(derandomize=True, max_examples=150, deadline=None)
    @given(st.binary(min_size=40, max_size=120), st.sampled_from([0x45, 0x46, 0x60]))
    @example(bytes(40), 0x60)
    def test_anything(self, data: bytes, first: int) -> None:
        """Whatever comes, it passes or is counted."""
        self.passes(bytes([first]) + data[1:])


class AnswerTests(GuardTestCase):
    """UDP that this machine asked for."""

    def ask(self, now: float = NOW, ours: int = 40000, theirs: int = 53) -> None:
        """Send to the peer."""
        packet = QUESTION[:20] + struct.pack(">HH", ours, theirs) + QUESTION[24:]
        self.guard.leaving([packet], now)

    def answers(self, now: float, ours: int = 40000, theirs: int = 53) -> bool:
        """Whether an answer passes."""
        return self.passes(V4 / UDP(sport=theirs, dport=ours), now)

    def test_answer(self) -> None:
        """From where it was sent, to where, and for so long: what the peer sends adds nothing."""
        self.assertFalse(self.answers(NOW))
        self.ask()
        self.assertTrue(self.answers(NOW))
        self.assertFalse(self.answers(NOW, ours=40001))
        self.assertFalse(self.answers(NOW, theirs=54))
        self.assertFalse(self.answers(NOW, ours=53, theirs=40000))
        self.assertTrue(self.answers(NOW + ANSWERED_WITHIN))
        self.assertFalse(self.answers(NOW + ANSWERED_WITHIN + 1))

    def test_asked_again(self) -> None:
        """Each packet that this machine sends gives it time."""
        self.ask()
        self.ask(NOW + 100)
        self.assertTrue(self.answers(NOW + 100 + ANSWERED_WITHIN))

    def test_ipv6(self) -> None:
        """Over IPv6 as well, behind whatever headers, and in super-packets."""
        self.guard.leaving([bytes(V6 / OPTIONS / UDP(sport=40000, dport=53))], NOW)
        self.assertTrue(self.passes(V6 / UDP(sport=53, dport=40000)))
        packet = super_packet(V6 / UDP(sport=40001, dport=54), bytes(5000), 1200)
        self.guard.left(packet.buffer, packet.start + HEADER_SIZE, NOW)
        self.assertTrue(self.passes(V6 / UDP(sport=54, dport=40001)))

    def test_tcp_does_not_count(self) -> None:
        """What this machine sends by TCP opens nothing for UDP."""
        self.guard.leaving([bytes(IP() / TCP(sport=40000, dport=53))], NOW)
        self.assertFalse(self.answers(NOW))

    def test_bounds(self) -> None:
        """So many flows are remembered: the latest used; and none longer than it counts."""
        self.ask(NOW, 1)
        self.ask(NOW, 2)
        self.ask(NOW, 1)
        for number in range(MOST_FLOWS - 1):
            self.ask(NOW, 10_000 + number)
        self.assertEqual(len(self.guard._flows), MOST_FLOWS)
        self.assertTrue(self.answers(NOW, 1))
        self.assertFalse(self.answers(NOW, 2))
        self.ask(NOW + ANSWERED_WITHIN + 1, 3)
        self.assertEqual(len(self.guard._flows), 1)

    def test_new_rules(self) -> None:
        """Other rules do not make it forget what was asked."""
        self.ask()
        self.guard.reach = Reach.of([])
        self.assertTrue(self.answers(NOW))


class MemoryTests(GuardTestCase):
    """What is remembered of what was dropped."""

    def test_refusals(self) -> None:
        """How often, and when last."""
        for later in range(3):
            self.guard.allowed([bytes(V4 / TCP(dport=23, flags="S"))], NOW + later, self.dropped)
        self.passes(V4 / UDP(dport=53))
        self.passes(V4 / ICMP(type=8))
        self.passes(V4 / GRE())
        self.assertEqual(self.guard.refusals["tcp/23"], (3, NOW + 2))
        self.assertEqual([*self.guard.refusals], ["tcp/23", "udp/53", "ping", "protocol 47"])
        self.assertEqual(self.dropped[NOT_ALLOWED], 9)  # the last three were judged twice

    def test_scan(self) -> None:
        """Of somebody who tries all ports the last few are remembered."""
        for port in range(1000, 1100):
            self.passes(V4 / TCP(dport=port, flags="S"))
        self.assertEqual(len(self.guard.refusals), MOST_REFUSALS)
        self.assertIn("tcp/1099", self.guard.refusals)


class SuperPacketTests(GuardTestCase):
    """What comes in records."""

    @settings(derandomize=True, max_examples=40, deadline=None)
    @given(super_packets())
    def test_any(self, packet: SuperPacket) -> None:
        """A super-packet passes if each of its packets would."""
        self.guard = Guard(Reach.of(["udp/1-30000"]))
        data = memoryview(packet.buffer)[MARGIN:-MARGIN]
        whole = self.guard.passes(data, HEADER_SIZE, NOW, self.dropped)
        single = {self.guard.passes(each, 0, NOW, self.dropped) for each in packet.packets()}
        self.assertEqual({whole}, single)

    def test_syn(self) -> None:
        """One with SYN passes to an allowed port only."""
        for flags, port, passes in [("S", 22, True), ("S", 23, False), ("A", 23, True)]:
            for carrier in (V4, V6):
                packet: Any = super_packet(carrier / TCP(dport=port, flags=flags), bytes(9000), 999)
                data = memoryview(packet.buffer)[MARGIN:-MARGIN]
                said = self.guard.passes(data, HEADER_SIZE, NOW, self.dropped)
                self.assertEqual(said, passes)
