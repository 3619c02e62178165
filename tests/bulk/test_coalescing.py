"""Putting packets together: always the same packets, only fewer."""

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet
from twisted.trial.unittest import SynchronousTestCase

from tests.bulk.packets import (
    TIMESTAMPS,
    by_scapy,
    contents,
    super_packet,
    super_packets,
    whole,
)
from tunnelmesh.bulk.coalescing import coalesce
from tunnelmesh.bulk.layout import MAX_SEGMENTS
from tunnelmesh.bulk.super_packet import SuperPacket

V4 = IP(src="100.96.0.1", dst="100.96.0.2", id=65534)
V6 = IPv6(src="fd00::1", dst="fd00::2")


def flow(headers: Packet, size: int = 3500, segment: int = 1000, seed: int = 1) -> list[bytes]:
    """The packets of a super-packet."""
    return super_packet(headers, random.Random(seed).randbytes(size), segment).packets()


def shape(found: Sequence[bytes | SuperPacket]) -> list[int]:
    """How many packets have become one, of each."""
    return [each.count if isinstance(each, SuperPacket) else 1 for each in found]


def taken_apart(found: Sequence[bytes | SuperPacket]) -> list[bytes]:
    """The packets again."""
    packets: list[bytes] = []
    for each in found:
        packets += each.packets() if isinstance(each, SuperPacket) else [each]
    return packets


def meaning(packets: Sequence[bytes]) -> list[bytes]:
    """The packets without what means nothing."""
    return [without_identification(each) for each in packets]


def without_identification(packet: bytes) -> bytes:
    """The packet without the identification of one that may not be fragmented (RFC 6864)."""
    if packet[:1] == b"\x45" and len(packet) > 20 and packet[6] & 0x40:
        return packet[:4] + packet[6:10] + packet[12:]
    return packet


def key(packet: bytes) -> bytes:
    """What says which flow a packet is of."""
    return packet[12:24] if packet[:1] == b"\x45" else packet[8:44]


class CoalesceTests(SynchronousTestCase):
    """What is put together, and where it ends."""

    def together(self, packets: Sequence[bytes], expected: Sequence[int]) -> None:
        """Check how many packets become one, and that they are still the same in the same order."""
        found = coalesce(packets, udp=True)
        self.assertEqual(shape(found), list(expected))
        self.assertEqual(meaning(taken_apart(found)), meaning(packets))

    @settings(max_examples=80, derandomize=True, deadline=None, database=None)
    @given(super_packets())
    def test_inverse(self, packet: SuperPacket) -> None:
        """What was cut up becomes what it was, byte for byte, unless it has IP options."""
        packets = packet.packets()
        found = coalesce(packets, udp=True)
        if packet.transport in (20, 40) and packet.count > 1:
            self.assertEqual([whole(each) for each in found], [whole(packet)])
        else:
            self.assertEqual(found, packets)

    def test_flags(self) -> None:
        """PSH and FIN end a super-packet; CWR begins one; SYN, RST and URG are not for one."""
        for first, second, expected in [
            ("A", "A", [8]),
            ("PA", "A", [4, 4]),
            ("FA", "A", [4, 4]),
            ("A", "CA", [4, 4]),
            ("A", "EA", [4, 4]),
            ("EA", "EA", [8]),
            ("A", "PA", [8]),
            ("SA", "SA", [1] * 8),
            ("RA", "A", [1] * 8),
            ("A", "UA", [4, 1, 1, 1, 1]),
            ("", "", [1] * 8),
        ]:
            for ip in (V4, V6):
                packets = flow(ip / TCP(flags=first, seq=2**32 - 2000), 4000)
                ip = ip.copy()
                if isinstance(ip, IP):
                    ip.id = 2
                packets += flow(ip / TCP(flags=second, seq=2000), 4000)
                self.together(packets, expected)

    def test_differences(self) -> None:
        """What differs in anything that counts is not put together."""
        packets = flow(V4 / TCP(flags="A", options=TIMESTAMPS), 8000)
        for layer, field, value in [
            (IP, "tos", 3),
            (IP, "ttl", 63),
            (IP, "id", 7),
            (IP, "flags", "DF"),
            (IP, "flags", "MF"),
            (IP, "frag", 8),
            (IP, "src", "100.96.0.3"),
            (TCP, "ack", 1),
            (TCP, "seq", 4999),
            (TCP, "seq", 0),
            (TCP, "window", 1),
            (TCP, "dport", 1),
            (TCP, "reserved", 1),
            (TCP, "urgptr", 1),
            (TCP, "options", [("NOP", None), ("NOP", None), ("Timestamp", (77, 79))]),
            (TCP, "dataofs", 9),
        ]:
            odd = by_scapy(packets[4])
            setattr(odd[layer], field, value)
            changed = [*packets[:4], bytes(by_scapy(bytes(odd))), *packets[5:]]
            self.together(changed, [4, 1, 3])

    def test_identification(self) -> None:
        """Where packets may not be fragmented, identifications are nothing."""
        packets = [by_scapy(each) for each in flow(V4 / TCP(flags="A"), 3000)]
        for each in packets:
            each.flags, each.id = "DF", 0
        self.together([bytes(by_scapy(bytes(each))) for each in packets], [3])

    def test_corrupt(self) -> None:
        """A wrong checksum is never made right, whichever bit is wrong, wherever it is."""
        for headers in (V4 / TCP(flags="A"), V6 / TCP(flags="A"), V4 / UDP(), V6 / UDP()):
            packets = flow(headers, 4000)
            for at in range(0, len(packets[1]), 7):
                odd = bytearray(packets[1])
                odd[at] ^= 0x10
                changed = [packets[0], bytes(odd), *packets[2:]]
                found = coalesce(changed, udp=True)
                self.assertIn(bytes(odd), found)

    def test_order(self) -> None:
        """Gaps, repetitions and changes of order end a super-packet; nothing is reordered."""
        packets = flow(V4 / TCP(flags="A"), 6000)
        self.together(packets[:2] + packets[3:], [2, 3])
        self.together(packets[:3] + packets[2:], [3, 4])
        self.together(packets[::-1], [1] * 6)
        self.together([*packets[3:], *packets[:3]], [3, 3])

    def test_lengths(self) -> None:
        """A shorter segment is the last one, a longer one begins anew."""
        packets = flow(V6 / TCP(flags="A"), 2500)
        packets += flow(V6 / TCP(flags="A", seq=2500), 5000)
        packets += flow(V6 / TCP(flags="A", seq=7500), 900, 300)
        self.together(packets, [3, 6, 2])

    def test_acknowledgements(self) -> None:
        """Segments without payload are left alone, and stay where they are."""
        bare = bytes(by_scapy(bytes(V4 / TCP(flags="A", seq=3000))))
        packets = flow(V4 / TCP(flags="A"), 3000)
        self.together([*packets, bare, bare], [3, 1, 1])
        self.together([bare, *packets, bare], [1, 3, 1])

    def test_mixed(self) -> None:
        """Flows in turns are put together each for itself; what is of no flow stays in order."""
        flows = [flow(ip / TCP(flags="A", dport=port)) for ip in (V4, V6) for port in (1, 2)]
        pings = [bytes(by_scapy(bytes(V4 / ICMP(seq=number)))) for number in range(4)]
        packets = [each for row in zip(*flows, pings, strict=True) for each in row]
        found = coalesce(packets)
        self.assertEqual(shape(found), [4, 4, 4, 4, 1, 1, 1, 1])
        self.assertEqual(found[4:], pings)

    def test_limits(self) -> None:
        """No super-packet is longer than an IP packet can be, none has too many datagrams."""
        segments = flow(V4 / TCP(flags="A"), 40000)
        segments += flow(IP(src=V4.src, dst=V4.dst, id=38) / TCP(flags="A", seq=40000), 40000)
        self.together(segments, [63, 17])
        self.together(flow(V4 / UDP(), 1000, 10), [MAX_SEGMENTS, 100 - MAX_SEGMENTS])

    def test_udp(self) -> None:
        """Datagrams are put together only if that is wanted, and never without a checksum."""
        packets = flow(V4 / UDP())
        self.assertEqual(coalesce(packets), packets)
        self.together(packets, [4])
        without = [each[:26] + b"\0\0" + each[28:] for each in packets]
        self.together(without, [1, 1, 1, 1])

    def test_unusual(self) -> None:
        """What would make no super-packet is left alone, though all its checksums are right."""
        ends = [TCP(flags="A", dataofs=offset) for offset in (0, 1, 4, 15)]
        for ip in (V4, V6):
            for transport, payload in [
                *((end, bytes(30)) for end in ends),
                (TCP(flags="A"), b"key"),
                (UDP(), b""),
                (UDP(), b"key"),
                (UDP(len=9), bytes(30)),
            ]:
                packets = []
                for number in range(3):
                    each, header = ip.copy(), transport.copy()
                    if isinstance(each, IP):
                        each.id = number
                    if isinstance(header, TCP):
                        header.seq = number * len(payload)
                    packets.append(bytes(each / header / payload))
                self.together(packets, [1, 1, 1])

    def test_few(self) -> None:
        """Nothing, and one packet, are what they were."""
        self.assertEqual(coalesce([]), [])
        self.assertEqual(coalesce([b""]), [b""])

    @settings(max_examples=80, derandomize=True, deadline=None, database=None)
    @given(st.lists(super_packets(), min_size=1, max_size=3), st.randoms(use_true_random=False))
    def test_hostile(self, flows: list[SuperPacket], chance: random.Random) -> None:
        """Whatever is lost, changed, cut off, repeated or mixed: it arrives as it was sent."""
        queues = [each.packets() for each in flows]
        packets: list[bytes] = []
        while any(queues):
            queue = chance.choice([each for each in queues if each])
            packet = bytearray(queue.pop(0))
            match chance.randrange(12):
                case 0:
                    continue
                case 1:
                    packet[chance.randrange(len(packet))] = chance.randrange(256)
                case 2:
                    del packet[chance.randrange(len(packet)) :]
                case 3:
                    packets.append(bytes(packet))
                case 4:
                    packets.append(chance.randbytes(chance.randrange(60)))
            packets.append(bytes(packet))
        found = taken_apart(coalesce(packets, udp=True))
        self.assertEqual(len(found), len(packets))
        for name in set(map(key, packets)):
            self.assertEqual(
                meaning([each for each in found if key(each) == name]),
                meaning([each for each in packets if key(each) == name]),
            )


class RoundTripTests(SynchronousTestCase):
    """Both together, as two peers use them."""

    def test_large(self) -> None:
        """60 KB arrive as one, at any alignment of segments."""
        for segment in (1368, 1369, 1370, 1371, 1400, 8960):
            packet = super_packet(V4 / TCP(flags="PA"), random.Random(7).randbytes(60000), segment)
            (again,) = coalesce(packet.packets())
            self.assertEqual(whole(again), whole(packet))
            self.assertEqual(contents(again), contents(packet))
