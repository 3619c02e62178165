"""Cutting a super-packet into packets, as the kernel would (``net/ipv4/tcp_offload.c``).

All segments are the rows of one matrix: the header is written to all at once, then the columns in
which they differ. Matrices are kept, for most super-packets of a flow have the same geometry.
"""

from __future__ import annotations

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
"""Payload starts at a multiple of so many bytes, which makes copying and adding fast."""


_U16 = Struct(">H")
_U32 = Struct(">I")


class _Matrix:
    """One packet in each row, and columns for the fields in which packets differ.

    :ivar packets: a view of each row, from the packet's first byte to its last.
    :ivar covered: the words that TCP's or UDP's checksum covers, pseudo-header apart.
    """

    def __init__(self, headers: int, transport: int, size: int, protocol: int) -> None:
        lead = -headers % _ALIGNED
        width = lead + headers + size
        pitch = width + -width % _ALIGNED
        rows = (LARGEST - headers) // size + 1
        octets = np.zeros((rows, pitch), np.uint8)
        view = octets.data.cast("B")
        self.packets = [view[at + lead : at + width] for at in range(0, rows * pitch, pitch)]
        self.numbers = np.arange(rows)
        self.offsets = np.arange(rows, dtype=np.uint32) * np.uint32(size)
        self.headers = octets[:, lead : lead + headers]
        self.payload = octets[:, lead + headers : width]

        def column(at: int, dtype: str) -> npt.NDArray[np.unsignedinteger]:
            field = octets[:, lead + at : lead + at + np.dtype(dtype).itemsize]
            return field.view(dtype)[:, 0]

        self.covered = octets[:, lead + transport :].view("<u4")
        self.identification = column(4, ">u2")
        self.ip_checksum = column(10, ">u2")
        self.sequence = column(transport + 4, ">u4")
        self.checksum = column(
            transport + (TCP_CHECKSUM if protocol == TCP else UDP_CHECKSUM), "<u2"
        )


_matrices: dict[tuple[int, int, int, int], _Matrix] = {}


def cut(packet: SuperPacket) -> list[bytes]:
    """The complete IP packets, in order, that a super-packet stands for.

    Only the first keeps CWR, and only the last FIN and PSH; IPv4's identification and TCP's
    sequence number go on from one to the next.
    """
    geometry = (packet.headers, packet.transport, packet.segment_size, packet.protocol)
    matrix = _matrices.get(geometry)
    if matrix is None:
        if len(_matrices) >= GEOMETRIES:
            _matrices.clear()
        matrix = _matrices[geometry] = _Matrix(*geometry)

    headers, transport, size, protocol = geometry
    start = packet.start + HEADER_SIZE + headers
    full, rest = divmod(packet.stop - start, size)
    count = packet.count
    header = packet.buffer[packet.start + HEADER_SIZE : start]
    packet.write_lengths(header, 0, headers + size)
    if protocol == TCP:
        flags = header[transport + 13]
        header[transport + 13] = flags & ~(CWR | FIN | PSH)
    matrix.headers[:count] = np.frombuffer(header, np.uint8)
    payload = np.frombuffer(packet.buffer, np.uint8, packet.stop - start, start)
    matrix.payload[:full] = payload[: full * size].reshape(full, size)
    last = matrix.packets[count - 1]
    if rest:
        matrix.payload[full, :rest] = payload[full * size :]
        matrix.payload[full, rest:] = 0
        last = last[: headers + rest]
        packet.write_lengths(last, 0, headers + rest)

    if not packet.is_v6:
        (identification,) = _U16.unpack_from(header, 4)
        header[4:6] = header[10:12] = b"\0\0"
        ids = matrix.numbers[:count] + identification & 0xFFFF
        totals = ids + int.from_bytes(header[:transport], "big") % 65535
        if rest:
            totals[-1] -= size - rest
        matrix.identification[:count] = ids
        matrix.ip_checksum[:count] = checksums(totals)
    if protocol == TCP:
        (sequence,) = _U32.unpack_from(header, transport + 4)
        matrix.sequence[:count] = matrix.offsets[:count] + np.uint32(sequence)
        matrix.packets[0][transport + 13] |= flags & CWR
        last[transport + 13] |= flags & (FIN | PSH)

    # The field holds the sum of the pseudo-header, so that the row's sum is that of everything.
    values = checksums(sums(matrix.covered[:count]))
    if protocol == UDP:
        values[values == 0] = 0xFFFF  # 0 means that there is no checksum (RFC 768)
    matrix.checksum[:count] = values
    packets = list(map(bytes, matrix.packets[: count - 1]))
    packets.append(bytes(last))
    return packets
