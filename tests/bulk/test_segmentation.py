"""Cutting super-packets up, beside Scapy's arithmetic."""

from hypothesis import given, settings
from scapy.layers.inet import IP, TCP, UDP
from twisted.trial.unittest import SynchronousTestCase

from tests.bulk.packets import by_scapy, contents, super_packet, super_packets, whole
from tunnelmesh.bulk import segmentation
from tunnelmesh.bulk.super_packet import SuperPacket


class CutTests(SynchronousTestCase):
    """One super-packet in, complete packets out."""

    @settings(max_examples=60, derandomize=True, deadline=None, database=None)
    @given(super_packets())
    def test_complete(self, packet: SuperPacket) -> None:
        """Lengths and checksums are Scapy's; the payload is all there, in segments."""
        before = bytes(packet.buffer)
        packets = packet.packets()
        self.assertEqual(packets, [bytes(by_scapy(each)) for each in packets])
        size = packet.segment_size
        self.assertEqual(
            [each[packet.headers :] for each in packets],
            [contents(packet)[at : at + size] for at in range(0, len(contents(packet)), size)],
        )
        self.assertEqual(len(packets), packet.count)
        self.assertEqual(bytes(packet.buffer), before)

    @settings(max_examples=40, derandomize=True, deadline=None, database=None)
    @given(super_packets())
    def test_headers(self, packet: SuperPacket) -> None:
        """Identification and sequence number count; CWR is first, PSH and FIN are last."""
        packets = [by_scapy(each) for each in packet.packets()]
        original = by_scapy(whole(packet)[10:])
        for index, each in enumerate(packets):
            first, last = not index, index == len(packets) - 1
            if isinstance(each, IP):
                self.assertEqual(each.id, (original.id + index) & 0xFFFF)
                each.id = original.id
            tcp = each.getlayer(TCP)
            if tcp:
                expected = original[TCP].seq + index * packet.segment_size
                self.assertEqual(tcp.seq, expected & 0xFFFFFFFF)
                tcp.seq = original[TCP].seq
                flags = set(str(original[TCP].flags))
                flags -= set() if first else {"C"}
                flags -= set() if last else {"P", "F"}
                self.assertEqual(set(str(tcp.flags)), flags)
                tcp.flags = original[TCP].flags
            (tcp or each[UDP]).remove_payload()
            without = original.copy()
            without[TCP if tcp else UDP].remove_payload()
            self.assertEqual(bytes(by_scapy(bytes(each))), bytes(by_scapy(bytes(without))))

    def test_udp_without_zero(self) -> None:
        """A UDP checksum that comes out as 0 is sent as 0xFFFF: 0 would mean that there is none."""
        headers = IP(src="100.96.0.1", dst="100.96.0.2") / UDP(sport=1, dport=2)
        first = super_packet(headers, bytes(16), 8).packets()[0]
        payload = first[26:28] + bytes(14)
        packet = super_packet(headers, payload, 8).packets()[0]
        self.assertEqual(packet[26:28], b"\xff\xff")

    def test_bounded(self) -> None:
        """Flows with ever new segment sizes do not fill memory."""
        headers = IP(src="100.96.0.1", dst="100.96.0.2") / TCP(flags="A")
        for size in range(500, 520):
            super_packet(headers, bytes(1000), size).packets()
        self.assertEqual(segmentation.kept.cache_info().currsize, segmentation.GEOMETRIES)
