"""The ten bytes before each packet of a TUN device with offloads: what is left to do with it.

The legacy ``virtio_net_hdr`` (virtio 1.2, 5.1.6; Linux ``include/uapi/linux/virtio_net.h``)::

    flags u8 | gso_type u8 | header_size u16 | segment_size u16 | checksum_start u16 |
    checksum_offset u16

The kernel reads and writes it in the machine's own byte order. Between two peers it is
little-endian, which is the same thing on every machine that TunnelMesh runs on.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER_SIZE = 10
"""Bytes of the header."""

NEEDS_CSUM = 1
"""Flag: the checksum field holds the sum of the pseudo-header, not complemented; the sum of all
from ``checksum_start`` on is still to be put there."""

DATA_VALID = 2
"""Flag: the checksum has been verified."""

GSO_NONE = 0
"""Type: an ordinary packet."""

GSO_TCPV4 = 1
"""Type: TCP over IPv4, to be cut into segments."""

GSO_TCPV6 = 4
"""Type: TCP over IPv6, to be cut into segments."""

GSO_UDP_L4 = 5
"""Type: UDP over either, to be cut into datagrams (Linux 6.2)."""

GSO_ECN = 0x80
"""Added to a TCP type if the CWR flag is set, which is the first segment's alone (RFC 3168, 6.1.2).
"""

_HEADER = struct.Struct("=BBHHHH")

unpack = _HEADER.unpack_from
"""The header's fields as a plain tuple, where every packet counts."""

pack_into = _HEADER.pack_into
"""The same the other way: buffer, offset, and the six fields."""


class VirtioHeader(NamedTuple):
    """The header of one packet.

    :ivar flags: :data:`NEEDS_CSUM` or :data:`DATA_VALID`, or 0.
    :ivar gso_type: one of the ``GSO_`` constants.
    :ivar header_size: bytes of all headers; a hint.
    :ivar segment_size: bytes of payload in each segment but the last.
    :ivar checksum_start: where, from the start of the IP packet, the TCP or UDP header starts.
    :ivar checksum_offset: where, from there, the checksum is.
    """

    flags: int = 0
    gso_type: int = GSO_NONE
    header_size: int = 0
    segment_size: int = 0
    checksum_start: int = 0
    checksum_offset: int = 0

    def pack(self) -> bytes:
        """The ten bytes."""
        return _HEADER.pack(*self)

    @classmethod
    def unpack_from(cls, buffer: bytes | bytearray | memoryview, offset: int = 0) -> VirtioHeader:
        """Read the header at *offset*, of which there must be ten bytes."""
        return cls._make(unpack(buffer, offset))


EMPTY = VirtioHeader().pack()
"""What goes before an ordinary packet that is complete."""
