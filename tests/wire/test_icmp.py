"""Tests for :mod:`tunnelmesh.wire.icmp`."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6
from scapy.packet import Raw
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.wire.icmp import too_big

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
