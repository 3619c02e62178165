"""Packets as rows of a matrix: whether they continue each other, and the super-packet they make.

They do if cutting that super-packet up would give the same packets again, byte for byte, apart from
the identification of IPv4 packets that may not be fragmented, which means nothing (RFC 6864).

A super-packet is taken by the kernel as verified: hence a packet whose checksum is wrong must not
become part of one.
"""

from __future__ import annotations

from struct import Struct

import numpy as np
import numpy.typing as npt

from tunnelmesh.bulk.checksum import Words, sums, swapped
from tunnelmesh.bulk.layout import Layout, pattern
from tunnelmesh.wire.ip import (
    CWR,
    FIN,
    IPV4_HEADER,
    IPV6_HEADER,
    PSH,
    TCP,
    TCP_CHECKSUM,
    UDP,
    UDP_CHECKSUM,
)
from tunnelmesh.wire.virtio import (
    GSO_ECN,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    HEADER_SIZE,
    NEEDS_CSUM,
    pack_into,
)

Octets = npt.NDArray[np.uint8]

_ENDS = bytes(flags & (FIN | PSH) > 0 for flags in range(256))
_BEGINS = bytes(flags & CWR > 0 for flags in range(256))
"""By TCP's flags, whether nothing may follow such a packet, or it may follow nothing."""

_U16 = Struct(">H")


class Rows:
    """Packets of one layout, at least two and at most :data:`~tunnelmesh.bulk.layout.MAX_ROWS`.

    :param octets: a packet in each row; what follows it, up to a multiple of four bytes, is zero.
    :param last: bytes of the last packet, which may be shorter than the others.
    """

    def __init__(self, octets: Octets, layout: Layout, last: int) -> None:
        self.layout = layout
        self._octets = octets
        self._words = octets.view(np.uint32)
        self._short = layout.length - last
        self._common = self._reduced_headers()
        self._wrong = self._wrong_checksums()
        self._flags = bytes(len(octets))
        if layout.protocol == TCP:
            self._flags = octets[:, layout.transport + 13].tobytes()

    def bounds(self) -> list[int]:
        """Where packets that continue each other begin, and where the last ones end."""
        wrong, common = self._wrong, self._common
        count, width = len(common), self.layout.headers
        headers = common.tobytes()
        is_one = headers == headers[:width] * count and not np.count_nonzero(wrong)
        ends = self._flags.translate(_ENDS)[:-1]
        begins = self._flags.translate(_BEGINS)[1:]
        if is_one and 1 not in ends and 1 not in begins:
            return [0, count]
        breaks = np.frombuffer(ends, np.bool_) | np.frombuffer(begins, np.bool_)
        if not is_one:
            breaks |= wrong[1:] | wrong[:-1]
            breaks |= (common[1:] != common[:-1]).any(axis=1)
        starts: list[int] = (breaks.nonzero()[0] + 1).tolist()
        return [0, *starts, count]

    def size(self, begin: int, end: int) -> int:
        """Bytes of the super-packet of some packets, with its virtio header."""
        length, headers, *_ = self.layout
        short = self._short if end == len(self._octets) else 0
        return HEADER_SIZE + headers + (end - begin) * (length - headers) - short

    def join(self, begin: int, end: int, buffer: bytearray, start: int) -> int:
        """Write the super-packet of packets that continue each other, its virtio header first.

        :returns: where it ends.
        """
        length, headers, transport, protocol, _ = self.layout
        size = length - headers
        stop = start + self.size(begin, end)
        put = start + HEADER_SIZE + headers
        full, rest = divmod(stop - put, size)
        whole = np.frombuffer(buffer, np.uint8, full * size, put).reshape(full, size)
        whole[:] = self._octets[begin : begin + full, headers:length]
        if rest:
            buffer[stop - rest : stop] = self._octets[end - 1, headers : headers + rest].data

        at = start + HEADER_SIZE
        total = stop - at
        buffer[at : at + headers] = self._octets[begin, :headers].data
        if transport == IPV4_HEADER:
            kind = GSO_TCPV4
            addresses = buffer[at + 12 : at + 20]
            (before,) = _U16.unpack_from(buffer, at + 10)
            _U16.pack_into(buffer, at + 2, total)
            _U16.pack_into(buffer, at + 10, (before + length - total) % 65535)  # RFC 1624
        else:
            kind = GSO_TCPV6
            addresses = buffer[at + 8 : at + 40]
            _U16.pack_into(buffer, at + 4, total - IPV6_HEADER)
        if protocol == TCP:
            field = TCP_CHECKSUM
            flags = buffer[at + transport + 13] | self._flags[end - 1] & (FIN | PSH)
            buffer[at + transport + 13] = flags
            if flags & CWR:
                kind |= GSO_ECN
        else:
            field = UDP_CHECKSUM
            kind = GSO_UDP_L4
            _U16.pack_into(buffer, at + transport + 4, total - transport)
        pseudo = int.from_bytes(addresses, "big") + protocol + total - transport
        _U16.pack_into(buffer, at + transport + field, pseudo % 65535)
        pack_into(buffer, start, NEEDS_CSUM, kind, headers, size, transport, field)
        return stop

    def _reduced_headers(self) -> Words:
        """All packets' headers, reduced so that those of packets that continue each other are
        equal."""
        _, headers, transport, protocol, numbered = self.layout
        count = len(self._words)
        mask, offsets = pattern(self.layout)
        common: Words = self._words[:, : headers // 4] & mask
        octets = common.view(np.uint8)
        if protocol == TCP:
            sequence = common[:, transport // 4 + 1]
            np.subtract(sequence.byteswap(), offsets[:count], out=sequence)
        if numbered:
            identification = octets.view("<u2")[:, 2]
            identification[:] = identification.byteswap() - np.arange(count, dtype=np.uint16)
        if self._short:
            at = 2 if transport == IPV4_HEADER else 4
            octets[-1, at : at + 2] = octets[0, at : at + 2]
            if protocol == UDP:
                octets[-1, transport + 4 : transport + 6] = octets[0, transport + 4 : transport + 6]
        return common

    def _wrong_checksums(self) -> npt.NDArray[np.bool_]:
        """For each packet whether its checksums are wrong.

        IPv4's own, which covers all of its header, and TCP's or UDP's, which covers the rest and
        the addresses again, are right together if the sum of everything is what remains.
        """
        length, _, transport, protocol, _ = self.layout
        is_v4 = transport == IPV4_HEADER
        totals = sums(self._words if is_v4 else self._words[:, 2:])
        again = int(self._words[0, 3]) + int(self._words[0, 4]) if is_v4 else 0
        if self._short:
            totals[-1] -= swapped(self._short)
        remaining = -(again + swapped(length - transport + protocol)) % 65535
        wrong: npt.NDArray[np.bool_] = totals % 65535 != remaining
        return wrong
