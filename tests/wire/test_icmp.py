"""Tests for :mod:`tunnelmesh.wire.icmp`."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.packet import Raw
from twisted.trial.unittest import SynchronousTestCase

from tests.bulk.packets import by_scapy
from tunnelmesh.wire.icmp import (
    HOST_UNREACHABLE,
    PORT_UNREACHABLE,
    echo_reply,
    too_big,
    unreachable,
)

HERE, THERE = "100.96.0.1", "100.96.0.2"
HERE6, THERE6 = "fd00::1", "fd00::2"
DATA = Raw(bytes(1300))


class TooBigTests(SynchronousTestCase):
    """The kernel is told, as Scapy reads it, what it needs to find the flow."""

    def recomputed(self, packet: IP | IPv6) -> bytes:
        """A packet with its checksums made anew."""
        again = packet.copy()
        if isinstance(again, IP):
            del again.chksum
            del again[ICMP].chksum
        else:
            del again[ICMPv6PacketTooBig].cksum
        return bytes(again)

    def test_ipv4(self) -> None:
        """Fragmentation needed, with the MTU, the header and eight bytes."""
        sent = IP(src=HERE, dst=THERE, flags="DF") / TCP(sport=4000, dport=80, seq=77) / DATA
        told = too_big(bytes(sent), 1216)
        assert told is not None
        read = IP(told)
        self.assertEqual((read.src, read.dst), (THERE, HERE))
        self.assertEqual((read[ICMP].type, read[ICMP].code), (3, 4))
        self.assertEqual(read[ICMP].nexthopmtu, 1216)
        self.assertEqual(told[28:], bytes(sent)[:28])
        self.assertEqual(self.recomputed(read), told)

    def test_ipv6(self) -> None:
        """Packet too big, of 1280 bytes at most."""
        sent = IPv6(src=HERE6, dst=THERE6) / UDP(sport=4000, dport=53) / DATA
        told = too_big(bytes(sent), 1300)
        assert told is not None
        read = IPv6(told)
        self.assertEqual((read.src, read.dst), (THERE6, HERE6))
        self.assertEqual(read[ICMPv6PacketTooBig].mtu, 1300)
        self.assertEqual(len(told), 1280)
        self.assertEqual(told[48:], bytes(sent)[:1232])
        self.assertEqual(self.recomputed(read), told)

    def test_ipv6_minimum(self) -> None:
        """Less than 1280 bytes is not asked for over IPv6, where nobody would obey."""
        told = too_big(bytes(IPv6(src=HERE6, dst=THERE6) / UDP() / DATA), 1168)
        assert told is not None
        self.assertEqual(struct.unpack_from(">I", told, 44), (1280,))

    def test_not_about_errors_and_fragments(self) -> None:
        """Nothing is said about ICMP errors and later fragments; about echoes it is."""
        for packet in (
            IP(src=HERE, dst=THERE) / ICMP(type=11) / DATA,
            IP(src=HERE, dst=THERE, frag=100) / DATA,
            IPv6(src=HERE6, dst=THERE6) / ICMPv6TimeExceeded() / DATA,
        ):
            self.assertIsNone(too_big(bytes(packet), 1216))
        for packet in (
            IP(src=HERE, dst=THERE) / ICMP() / DATA,
            IPv6(src=HERE6, dst=THERE6) / ICMPv6EchoRequest() / DATA,
        ):
            self.assertIsNotNone(too_big(bytes(packet), 1216))

    @given(st.binary(max_size=100))
    @settings(max_examples=200, derandomize=True, deadline=None)
    def test_anything(self, packet: bytes) -> None:
        """Whatever the kernel hands over is survived."""
        told = too_big(packet, 1216)
        self.assertTrue(told is None or len(told) >= 56)


class UnreachableTests(SynchronousTestCase):
    """A program hears at once that nobody is there."""

    def test_ipv4(self) -> None:
        """The code, and of the packet its header and eight bytes, however short it is."""
        sent = bytes(IP(src=HERE, dst=THERE) / UDP(sport=4000, dport=53))
        for codes, code in ((PORT_UNREACHABLE, 3), (HOST_UNREACHABLE, 1)):
            told = unreachable(sent, codes)
            assert told is not None
            read = IP(told)
            self.assertEqual((read.src, read.dst), (THERE, HERE))
            self.assertEqual((read[ICMP].type, read[ICMP].code), (3, code))
            self.assertEqual(told[28:], sent)
            self.assertEqual(told, bytes(by_scapy(told)))

    def test_ipv6(self) -> None:
        """The same over IPv6, with its own codes."""
        sent = bytes(IPv6(src=HERE6, dst=THERE6) / UDP(sport=4000, dport=53) / Raw(b"data"))
        for codes, code in ((PORT_UNREACHABLE, 4), (HOST_UNREACHABLE, 3)):
            told = unreachable(sent, codes)
            assert told is not None
            read = IPv6(told)
            self.assertEqual((read.src, read.dst), (THERE6, HERE6))
            self.assertEqual(read[ICMPv6DestUnreach].code, code)
            self.assertEqual(told[48:], sent)
            sum_told = read[ICMPv6DestUnreach].cksum
            del read[ICMPv6DestUnreach].cksum
            self.assertEqual(IPv6(bytes(read))[ICMPv6DestUnreach].cksum, sum_told)

    @given(st.binary(max_size=100))
    @settings(max_examples=200, derandomize=True, deadline=None)
    def test_anything(self, packet: bytes) -> None:
        """Whatever is sent is survived."""
        told = unreachable(packet, PORT_UNREACHABLE)
        self.assertTrue(told is None or len(told) >= 56)


class EchoReplyTests(SynchronousTestCase):
    """Echo requests are answered as any machine would."""

    @given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=100))
    @settings(max_examples=100, derandomize=True, deadline=None)
    def test_reply(self, identifier: int, sequence: int, data: bytes) -> None:
        """The same bytes come back with right checksums, over IPv4 and IPv6."""
        fields = {"id": identifier, "seq": sequence}
        asked4 = IP(src=HERE, dst=THERE) / ICMP(**fields) / Raw(data)
        reply4 = IP(src=THERE, dst=HERE) / ICMP(type=0, **fields) / Raw(data)
        asked6 = IPv6(src=HERE6, dst=THERE6) / ICMPv6EchoRequest(data=data, **fields)
        reply6 = IPv6(src=THERE6, dst=HERE6) / ICMPv6EchoReply(data=data, **fields)
        for asked, reply, at in ((asked4, reply4, 22), (asked6, reply6, 42)):
            answer, expected = echo_reply(bytes(asked)), bytes(reply)
            assert answer is not None
            self.assertEqual(answer[:at] + answer[at + 2 :], expected[:at] + expected[at + 2 :])
            is_sum, should_be = (int.from_bytes(p[at : at + 2], "big") for p in (answer, expected))
            if is_sum != should_be:  # where any data is not zero, both are right
                self.assertEqual({is_sum, should_be}, {0, 0xFFFF})
                self.assertEqual(is_sum, 0xFFFF)

    def test_nothing_else(self) -> None:
        """Replies, errors, fragments and other protocols are not answered: no two machines would
        ever stop."""
        for packet in (
            IP() / ICMP(type=0) / DATA,
            IP() / ICMP(type=3) / DATA,
            IP(flags="MF") / ICMP() / DATA,
            IP(frag=3) / ICMP() / DATA,
            IP() / UDP() / DATA,
            IPv6() / ICMPv6EchoReply(data=bytes(20)),
            IPv6() / ICMPv6TimeExceeded() / DATA,
            IPv6() / UDP() / DATA,
        ):
            self.assertIsNone(echo_reply(bytes(packet)), packet.summary())

    @given(st.sampled_from([b"\x45", b"\x4f", b"\x60"]), st.binary(min_size=39, max_size=90))
    @settings(max_examples=200, derandomize=True, deadline=None)
    def test_anything(self, first: bytes, rest: bytes) -> None:
        """Whatever looks like IP is survived, and no answer is longer than the question."""
        packet = first + rest
        self.assertIn(len(echo_reply(packet) or packet), (len(packet),))
