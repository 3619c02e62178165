"""The header before a TUN device's packets."""

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.wire.virtio import EMPTY, GSO_ECN, GSO_TCPV4, HEADER_SIZE, NEEDS_CSUM, VirtioHeader


class VirtioTests(SynchronousTestCase):
    """There and back."""

    def test_layout(self) -> None:
        """The fields are where the kernel's ``struct virtio_net_hdr`` has them, little-endian."""
        header = VirtioHeader(NEEDS_CSUM, GSO_TCPV4 | GSO_ECN, 0x0201, 0x0403, 0x0605, 0x0807)
        data = bytes([1, 0x81, 1, 2, 3, 4, 5, 6, 7, 8])
        self.assertEqual(header.pack(), data)
        self.assertEqual(VirtioHeader.unpack_from(b"x" + data, 1), header)

    def test_empty(self) -> None:
        """Zeros go before a packet with which nothing is to be done."""
        self.assertEqual(EMPTY, bytes(HEADER_SIZE))
