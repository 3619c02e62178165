"""Tests for :mod:`tunnelmesh.peer.deviceless`."""

from __future__ import annotations

from collections import Counter

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.packet import Packet, Raw
from twisted.trial.unittest import SynchronousTestCase

from tests.peer.world import WorldTestCase, node
from tunnelmesh.peer.deviceless import ANSWERS, Deviceless

IPV4 = IP(src="100.96.0.1", dst="100.96.0.2")
IPV6 = IPv6(src="fd00::1", dst="fd00::2")


class AnswerTests(SynchronousTestCase):
    """Packets are answered as by a machine on which nothing listens."""

    def setUp(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.deviceless = Deviceless(self.dropped)

    def answers(self, *packets: Packet) -> list[Packet]:
        """What comes back, as Scapy reads it."""
        answers = self.deviceless.answers([bytes(packet) for packet in packets], 0.0)
        return [(IP if answer[0] >> 4 == 4 else IPv6)(answer) for answer in answers]

    def test_echo(self) -> None:
        """An echo is answered over IPv4 and IPv6."""
        reply, reply6 = self.answers(
            IPV4 / ICMP(id=1, seq=2) / Raw(b"data"), IPV6 / ICMPv6EchoRequest(id=1, data=b"data")
        )
        self.assertEqual((reply.src, reply.dst), (IPV4.dst, IPV4.src))
        self.assertEqual((reply[ICMP].type, reply[Raw].load), (0, b"data"))
        self.assertEqual(reply6[ICMPv6EchoReply].data, b"data")

    def test_refusals(self) -> None:
        """TCP is reset, and a UDP port unreachable."""
        reset, closed, closed6 = self.answers(
            IPV4 / TCP(dport=80, seq=7), IPV4 / UDP(dport=53), IPV6 / UDP(dport=53)
        )
        self.assertEqual((str(reset[TCP].flags), reset[TCP].ack), ("RA", 8))
        self.assertEqual((closed[ICMP].type, closed[ICMP].code), (3, 3))
        self.assertEqual(closed6[ICMPv6DestUnreach].code, 4)

    def test_no_answer(self) -> None:
        """What is itself an answer gets none, and is counted."""
        packets = [IPV4 / TCP(flags="R"), IPV4 / ICMP(type=0), IPV4 / ICMP(type=3), IPV6 / Raw(b"")]
        self.assertEqual(self.answers(*packets), [])
        self.assertEqual(self.dropped["no device for it"], len(packets))

    def test_flood(self) -> None:
        """No more is answered than a machine that is not there to answer should."""
        flood = [bytes(IPV4 / ICMP())] * (2 * int(ANSWERS))
        self.assertEqual(len(self.deviceless.answers(flood, 0.0)), ANSWERS)
        self.assertEqual(len(self.deviceless.answers(flood, 0.5)), ANSWERS / 2)
        self.assertEqual(sum(self.dropped.values()), 2.5 * ANSWERS)


class MeshTests(WorldTestCase):
    """A peer with a device and one without, on the simulated internet."""

    def test_ping(self) -> None:
        """``ping`` works, though no kernel is there to answer."""
        here = self.add("here")
        there = self.add("there", mode="userspace")
        self.until(lambda: here.path_to("there") == "udp" == there.path_to("here"))
        assert here.inner is not None
        self.assertIsNone(node(there).mesh.switch.device)
        ping = here.inner.ping(str(node(there).membership.address))
        self.until(lambda: ping.called)
        self.assertLess(self.successResultOf(ping), 1.0)
