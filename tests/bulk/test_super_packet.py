"""Reading super-packets whose every word may be a lie."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from twisted.trial.unittest import SynchronousTestCase

from tests.bulk.packets import contents, super_packet, super_packets, whole
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.virtio import DATA_VALID, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, HEADER_SIZE

V4 = IP(src="100.96.0.1", dst="100.96.0.2")
V6 = IPv6(src="fd00::1", dst="fd00::2")


class ReadTests(SynchronousTestCase):
    """What is taken for a super-packet, and what is not."""

    def test_read(self) -> None:
        """All that others want to know of it."""
        for headers, size, protocol in [
            (V4 / TCP(flags="A"), 40, 6),
            (V6 / TCP(flags="A"), 60, 6),
            (V4 / UDP(), 28, 17),
            (V6 / UDP(), 48, 17),
        ]:
            packet = super_packet(headers, bytes(3001), 1000)
            self.assertEqual(
                (packet.headers, packet.segment_size, packet.count, packet.protocol),
                (size, 1000, 4, protocol),
            )
            self.assertEqual(packet.is_v6, isinstance(headers, IPv6))
            self.assertEqual(packet.header.segment_size, 1000)

    def refused(self, packet: SuperPacket, offset: int, new: bytes) -> None:
        """Check that the packet is refused with other bytes at an offset from its start."""
        buffer = bytearray(whole(packet))
        self.assertNotEqual(buffer[offset : offset + len(new)], new)
        SuperPacket.read(buffer, 0, len(buffer))
        buffer[offset : offset + len(new)] = new
        with self.assertRaises(DecodeError, msg=f"{offset} {new!r}"):
            SuperPacket.read(buffer, 0, len(buffer))

    def test_virtio_header(self) -> None:
        """Every field of the virtio header has to fit the packet."""
        for headers in (V4 / TCP(flags="A"), V6 / TCP(flags="A"), V4 / UDP(), V6 / UDP()):
            packet = super_packet(headers, bytes(3000), 1000)
            header = packet.header
            for changes in [
                {"flags": 0},
                {"flags": DATA_VALID},
                {"flags": 3},
                {"gso_type": 0},
                {"gso_type": 3},
                *(
                    {"gso_type": kind}
                    for kind in (GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4)
                    if kind != header.gso_type
                ),
                {"header_size": 60000},
                {"segment_size": 0},
                {"segment_size": 7},
                {"checksum_start": header.checksum_start + 1},
                {"checksum_start": 0},
                {"checksum_start": 65535},
                {"checksum_offset": 22 - header.checksum_offset},
            ]:
                self.refused(packet, 0, header._replace(**changes).pack())

    def test_packet(self) -> None:
        """Fragments, other protocols, and headers that do not add up are refused."""
        tcp = super_packet(V4 / TCP(flags="A"), bytes(3000), 1000)
        udp = super_packet(V4 / UDP(), bytes(3000), 1000)
        tcp6 = super_packet(V6 / TCP(flags="A"), bytes(3000), 1000)
        at = HEADER_SIZE
        for packet, offset, new in [
            (tcp, at, b"\x44"),
            (tcp, at, b"\x46"),
            (tcp, at, b"\x15"),
            (tcp, at + 2, struct.pack(">H", 3039)),
            (tcp, at + 2, struct.pack(">H", 3041)),
            (tcp, at + 2, struct.pack(">H", 40)),
            (tcp, at + 2, struct.pack(">H", 0)),
            (tcp, at + 6, b"\x20"),
            (tcp, at + 7, b"\x01"),
            (tcp, at + 9, b"\x01"),
            (tcp, at + 9, b"\x11"),
            (tcp, at + 32, b"\x40"),
            (udp, at + 24, struct.pack(">H", 3007)),
            (udp, at + 9, b"\x06"),
            (tcp6, at + 4, struct.pack(">H", 3019)),
            (tcp6, at + 4, b"\0\0"),
            (tcp6, at + 6, b"\x00"),
            (tcp6, at + 6, b"\x2c"),
        ]:
            self.refused(packet, offset, new)
        with self.assertRaises(DecodeError):
            super_packet(V6 / IPv6ExtHdrFragment() / TCP(flags="A"), bytes(3000), 1000)

    def test_too_many_datagrams(self) -> None:
        """The kernel takes no more datagrams at once than 128."""
        super_packet(V4 / UDP(), bytes(1280), 10)
        with self.assertRaises(DecodeError):
            super_packet(V4 / UDP(), bytes(1281), 10)

    def test_cut_off(self) -> None:
        """What is shorter than it should be is refused at any length, whatever follows it."""
        for headers in (V4 / TCP(flags="A"), V6 / UDP()):
            packet = super_packet(headers, bytes(100), 50)
            for stop in range(packet.start, packet.stop):
                with self.assertRaises(DecodeError):
                    SuperPacket.read(packet.buffer, packet.start, stop)

    @settings(max_examples=200, derandomize=True, deadline=None, database=None)
    @given(super_packets(), st.data())
    def test_hostile(self, packet: SuperPacket, data: st.DataObject) -> None:
        """Whatever is changed in the headers, the packet is refused, or can be cut up whole."""
        end = HEADER_SIZE + packet.headers
        for _ in range(data.draw(st.integers(1, 4))):
            at = packet.start + data.draw(st.integers(0, end - 1))
            packet.buffer[at] = data.draw(st.integers(0, 255))
        try:
            again = SuperPacket.read(packet.buffer, packet.start, packet.stop)
        except DecodeError:
            return
        packets = again.packets()
        self.assertEqual(len(packets), again.count)
        self.assertEqual(b"".join(each[again.headers :] for each in packets), contents(again))

    @settings(max_examples=200, derandomize=True, deadline=None, database=None)
    @given(st.binary(max_size=120))
    def test_random_bytes(self, data: bytes) -> None:
        """Random bytes raise nothing but DecodeError."""
        try:
            SuperPacket.read(bytearray(data), 0, len(data))
        except DecodeError:
            return
