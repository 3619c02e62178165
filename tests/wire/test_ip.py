"""Checksums and lengths of IP packets."""

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.utils import checksum as scapy_checksum
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.wire.ip import checksum, complete_checksum, packet_length


class ChecksumTests(SynchronousTestCase):
    """Beside Scapy's arithmetic."""

    @settings(max_examples=200, derandomize=True, deadline=None, database=None)
    @given(st.binary(min_size=1, max_size=50).filter(any))
    def test_any(self, data: bytes) -> None:
        """The same for any bytes, an odd number of them too."""
        self.assertEqual(checksum(data), scapy_checksum(data))

    def test_known(self) -> None:
        """The example of RFC 1071, 3; and a sum of all ones, whose complement is 0."""
        self.assertEqual(checksum(bytes.fromhex("0001f203f4f5f6f7")), 0xFFFF - 0xDDF2)
        self.assertEqual(checksum(b"\xff\xff\xff\xff"), 0)

    def test_complete(self) -> None:
        """What the kernel left undone is done; UDP has no checksum of 0."""
        for transport, field in [(TCP(), 16), (UDP(), 6)]:
            done = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / transport / b"abc")
            undone = bytearray(done)
            length = len(done) - 20
            total = 0x0A00 + 1 + 0x0A00 + 2 + done[9] + length
            undone[20 + field : 22 + field] = total.to_bytes(2, "big")
            complete_checksum(undone, 20, len(done), 20 + field, transport.name == "UDP")
            self.assertEqual(undone, done)
        for udp, expected in [(False, b"\0\0"), (True, b"\xff\xff")]:
            buffer = bytearray(b"\xff\xff\0\0")
            complete_checksum(buffer, 0, 4, 2, udp)
            self.assertEqual(buffer[2:], expected)


class LengthTests(SynchronousTestCase):
    """What the IP header announces."""

    def test_length(self) -> None:
        """Both versions say it in their own way; what is neither says nothing."""
        self.assertEqual(packet_length(b"\x45\0\x05\x8c\0\0"), 1420)
        self.assertEqual(packet_length(b"??\x60\0\0\0\x05\x8c", 2), 1460)
        self.assertEqual(packet_length(b"\x50\0\x05\x8c\0\0"), 0)
