"""Cutting a super-packet into packets, as the kernel would (``net/ipv4/tcp_offload.c``).

All segments are the rows of one matrix: the header is written to all at once, then the columns in
which they differ. Matrices are kept, for most super-packets of a flow have the same geometry.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

import numpy as np
import numpy.typing as npt

from tunnelmesh.bulk.checksum import checksums, sums
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.wire.ip import CWR, FIN, PSH, TCP, TCP_CHECKSUM, UDP, UDP_CHECKSUM
from tunnelmesh.wire.virtio import HEADER_SIZE

GEOMETRIES = 8
"""Most matrices kept: flows with and without TCP timestamps, over IPv4 and IPv6, and some more. One
takes 70 KB at an ordinary segment size."""

LARGEST = 65535
"""Bytes of an IP packet."""

_ALIGNED = 16
"""Payload starts at a multiple of so many bytes, which makes copying and adding fast. It is also
what tunnels pad to."""

_U16 = Struct(">H")
_U32 = Struct(">I")


class Segments:
    """One packet in each row, and columns for the fields in which packets differ.

    :ivar length: bytes of each packet but the last, which may be shorter.
    :ivar last: bytes of the last one.
    :ivar packets: a view of each row, from the packet's first byte to its last.
    """

    def __init__(self, headers: int, transport: int, size: int, protocol: int) -> None:
        self.length = self.last = headers + size
        self._lead = -headers % _ALIGNED
        width = self._lead + self.length
        self._pitch = width + -self.length % _ALIGNED
        self._pitch += -self._pitch % _ALIGNED
        rows = (LARGEST - headers) // size + 1
        octets = np.zeros((rows, self._pitch), np.uint8)
        self._view = octets.data.cast("B")
        self.packets = self.rows(self.length)
        self._numbers = np.arange(rows)
        self._offsets = np.arange(rows, dtype=np.uint32) * np.uint32(size)
        self._headers = octets[:, self._lead : self._lead + headers]
        self._payload = octets[:, self._lead + headers : width]
        self._covered = octets[:, self._lead + transport :].view("<u4")

        def column(at: int, dtype: str) -> npt.NDArray[np.unsignedinteger]:
            field = octets[:, self._lead + at : self._lead + at + np.dtype(dtype).itemsize]
            return field.view(dtype)[:, 0]

        self._identification = column(4, ">u2")
        self._ip_checksum = column(10, ">u2")
        self._sequence = column(transport + 4, ">u4")
        self._checksum = column(
            transport + (TCP_CHECKSUM if protocol == TCP else UDP_CHECKSUM), "<u2"
        )

    def rows(self, width: int) -> list[memoryview]:
        """A view of each row's first *width* bytes from the packet's first on; what follows the
        packet, up to 15 bytes, is zero."""
        starts = range(self._lead, len(self._view), self._pitch)
        return [self._view[at : at + width] for at in starts]

    def fill(self, packet: SuperPacket) -> None:
        """Put a super-packet's packets into the first rows."""
        headers, transport = packet.headers, packet.transport
        size, protocol, count = packet.segment_size, packet.protocol, packet.count
        start = packet.start + HEADER_SIZE + headers
        full, rest = divmod(packet.stop - start, size)
        header = packet.buffer[packet.start + HEADER_SIZE : start]
        packet.write_lengths(header, 0, self.length)
        if protocol == TCP:
            flags = header[transport + 13]
            header[transport + 13] = flags & ~(CWR | FIN | PSH)
        self._headers[:count] = np.frombuffer(header, np.uint8)
        payload = np.frombuffer(packet.buffer, np.uint8, full * size, start)
        self._payload[:full] = payload.reshape(full, size)
        last = self.packets[count - 1]
        self.last = headers + (rest or size)
        if rest:
            last[headers : self.last] = memoryview(packet.buffer)[packet.stop - rest : packet.stop]
            last[self.last :] = bytes(size - rest)
            packet.write_lengths(last, 0, self.last)

        if not packet.is_v6:
            (identification,) = _U16.unpack_from(header, 4)
            header[4:6] = header[10:12] = b"\0\0"
            ids = self._numbers[:count] + identification
            if identification + count > 1 << 16:
                ids &= 0xFFFF
            values = -int.from_bytes(header[:transport], "big") % 65535 - ids
            values[-1] += self.length - self.last
            self._identification[:count] = ids
            self._ip_checksum[:count] = values % 65535
        if protocol == TCP:
            (sequence,) = _U32.unpack_from(header, transport + 4)
            self._sequence[:count] = self._offsets[:count] + sequence
            self.packets[0][transport + 13] |= flags & CWR
            last[transport + 13] |= flags & (FIN | PSH)

        # The field holds the sum of the pseudo-header: the row's sum is that of everything.
        values = checksums(sums(self._covered[:count]))
        if protocol == UDP:
            values[values == 0] = 0xFFFF  # 0 means that there is no checksum (RFC 768)
        self._checksum[:count] = values


kept = lru_cache(GEOMETRIES)(Segments)
"""The matrix of one geometry."""


def segments_of(packet: SuperPacket) -> Segments:
    """A matrix whose first rows are the packets that a super-packet stands for, valid until the
    next call.

    Only the first keeps CWR, and only the last FIN and PSH; IPv4's identification and TCP's
    sequence number go on from one to the next.
    """
    segments = kept(packet.headers, packet.transport, packet.segment_size, packet.protocol)
    segments.fill(packet)
    return segments


def cut(packet: SuperPacket) -> list[bytes]:
    """The complete IP packets, in order, that a super-packet stands for."""
    segments = segments_of(packet)
    packets = list(map(bytes, segments.packets[: packet.count]))
    packets[-1] = packets[-1][: segments.last]
    return packets
