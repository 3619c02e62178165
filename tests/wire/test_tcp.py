"""Tests for :mod:`tunnelmesh.wire.tcp`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw
from twisted.trial.unittest import SynchronousTestCase

from tests.bulk.packets import by_scapy, headers, super_packets, whole
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.wire.ip import TCP as TCP_NUMBER
from tunnelmesh.wire.tcp import Segment, read, reset, turn, turned
from tunnelmesh.wire.virtio import HEADER_SIZE

PORTS = st.tuples(st.integers(0, 65535), st.integers(0, 65535))
FLAGS = st.sampled_from(["S", "A", "SA", "FA", "PA", "F", "", "R", "RA", "SEC"])


def segment_of(packet: bytes) -> Segment:
    """What is read of a TCP packet."""
    segment = read(packet)
    assert segment is not None
    return segment


def parsed(packet: bytes) -> Packet:
    """The packet as Scapy reads it."""
    return (IP if packet[0] >> 4 == 4 else IPv6)(packet)


@st.composite
def tcp_packets(draw: st.DrawFn) -> bytes:
    """Any complete TCP packet without IPv6 extension headers."""
    word = st.integers(0, 2**32 - 1)
    ip: Packet
    if draw(st.booleans()):
        options = draw(st.sampled_from([[], b"\x01\x01\x01\x00"]))
        ip = IP(src="100.96.0.1", dst="100.96.0.2", id=draw(word) & 0xFFFF, options=options)
    else:
        ip = IPv6(src="fd00::1", dst="fd00::2", fl=draw(word) & 0xFFFFF)
    source, destination = draw(PORTS)
    tcp = TCP(sport=source, dport=destination, seq=draw(word), ack=draw(word), flags=draw(FLAGS))
    tcp.options = draw(st.sampled_from([[], [("MSS", 1380), ("WScale", 7)]]))
    return bytes(ip / tcp / Raw(draw(st.binary(max_size=60))))


class ReadTests(SynchronousTestCase):
    """TCP is told from what it is not."""

    @given(tcp_packets())
    @settings(max_examples=50, derandomize=True, deadline=None)
    def test_fields(self, packet: bytes) -> None:
        """Ports, numbers and flags are those that Scapy reads."""
        tcp = parsed(packet)[TCP]
        segment = segment_of(packet)
        self.assertEqual((segment.source, segment.destination), (tcp.sport, tcp.dport))
        self.assertEqual((segment.sequence, segment.acknowledged), (tcp.seq, tcp.ack))
        self.assertEqual(segment.flags, int(tcp.flags))
        self.assertEqual(packet[segment.at :], bytes(tcp))

    def test_opens(self) -> None:
        """A connection is asked for with SYN alone, or with ECN's bits."""
        opening = {
            flags: segment_of(bytes(IP() / TCP(flags=flags))).opens
            for flags in ("S", "SEC", "SA", "A", "R", "RA", "SR", "FA")
        }
        self.assertEqual([flags for flags, opens in opening.items() if opens], ["S", "SEC"])

    def test_others(self) -> None:
        """Other protocols, fragments and cut off headers are no segments."""
        whole_one = bytes(IP() / TCP())
        for packet in (
            bytes(IP() / UDP() / Raw(bytes(40))),
            bytes(IPv6() / UDP() / Raw(bytes(40))),
            bytes(IP() / ICMP()),
            bytes(IP(flags="MF") / TCP()),
            bytes(IP(frag=5) / TCP()),
            whole_one[:39],
            b"\x42" + whole_one[1:],
        ):
            self.assertIsNone(read(packet), packet)

    @given(st.sampled_from([b"\x45", b"\x4f", b"\x60"]), st.binary(min_size=39, max_size=90))
    @settings(max_examples=200, derandomize=True, deadline=None)
    def test_anything(self, first: bytes, rest: bytes) -> None:
        """Whatever looks like IP is survived, and refused within bounds."""
        packet = first + rest
        segment = read(packet)
        if segment is not None:
            self.assertIn(len(reset(packet, segment) or bytes(40)), (40, 60))


class TurnTests(SynchronousTestCase):
    """A rewritten packet is what would have been made anew."""

    @given(tcp_packets(), PORTS)
    @settings(max_examples=200, derandomize=True, deadline=None)
    def test_packets(self, packet: bytes, ports: tuple[int, int]) -> None:
        """Addresses are exchanged, ports are new, and every checksum is right."""
        answer = turned(packet, segment_of(packet), ports)
        expected = parsed(packet)
        expected.src, expected.dst = expected.dst, expected.src
        expected[TCP].sport, expected[TCP].dport = ports
        self.assertEqual(answer, bytes(by_scapy(bytes(expected))))

    @given(tcp_packets(), PORTS)
    @settings(max_examples=50, derandomize=True, deadline=None)
    def test_back(self, packet: bytes, ports: tuple[int, int]) -> None:
        """Turned twice, a packet is what it was."""
        segment = segment_of(packet)
        there = turned(packet, segment, ports)
        back = turned(there, segment_of(there), (segment.source, segment.destination))
        self.assertEqual(back, packet)

    @given(super_packets(), PORTS)
    @settings(max_examples=60, derandomize=True, deadline=None)
    def test_super_packets(self, packet: SuperPacket, ports: tuple[int, int]) -> None:
        """In place, a super-packet becomes one whose every segment is right."""
        start = packet.start + HEADER_SIZE
        segment = read(packet.buffer, start)
        if segment is None:
            is_plain = packet.protocol == TCP_NUMBER and packet.transport in (20, 24, 40)
            self.assertFalse(is_plain)
            return
        before, length = whole(packet), packet.stop - packet.start
        turn(packet.buffer, start, segment.at, ports)
        again = SuperPacket.read(packet.buffer, packet.start, packet.stop)
        for ordinary in again.packets():
            self.assertEqual(ordinary, bytes(by_scapy(ordinary)))
            read_back = parsed(ordinary)
            self.assertEqual((read_back[TCP].sport, read_back[TCP].dport), ports)
            self.assertEqual(read_back.src, parsed(before[HEADER_SIZE:]).dst)
        turn(packet.buffer, start, segment.at, (segment.source, segment.destination))
        self.assertEqual(packet.buffer[packet.start : packet.start + length], before)

    @given(headers())
    @settings(max_examples=30, derandomize=True, deadline=None)
    def test_neighbours(self, packet: Packet) -> None:
        """Only addresses, ports and the checksum differ."""
        data = bytes(packet / Raw(b"payload"))
        segment = read(data)
        if segment is None:
            return
        answer = turned(data, segment, (1, 2))
        free = set(range(12, 20) if data[0] >> 4 == 4 else range(8, 40))
        free |= {segment.at + place for place in (0, 1, 2, 3, 16, 17)}
        changed = {at for at in range(len(data)) if data[at] != answer[at]}
        self.assertLessEqual(changed, free)


class ResetTests(SynchronousTestCase):
    """Refusals are those of RFC 9293, with right checksums."""

    @given(tcp_packets())
    @settings(max_examples=100, derandomize=True, deadline=None)
    def test_answer(self, packet: bytes) -> None:
        """A reset goes back, acceptable to whoever sent the segment; to a reset none does."""
        asked = parsed(packet)
        answer = reset(packet, segment_of(packet))
        if asked[TCP].flags.R:
            self.assertIsNone(answer)
            return
        assert answer is not None
        self.assertEqual(answer, bytes(by_scapy(answer)))
        told = parsed(answer)
        self.assertEqual((told.src, told.dst), (asked.dst, asked.src))
        self.assertEqual((told[TCP].sport, told[TCP].dport), (asked[TCP].dport, asked[TCP].sport))
        if asked[TCP].flags.A:
            self.assertEqual((str(told[TCP].flags), told[TCP].seq), ("R", asked[TCP].ack))
        else:
            flags = asked[TCP].flags
            length = len(asked[TCP].payload) + bool(flags.S) + bool(flags.F)
            self.assertEqual(str(told[TCP].flags), "RA")
            self.assertEqual(told[TCP].ack, (asked[TCP].seq + length) % 2**32)
