"""Putting packets of one flow together again, as the kernel does (``net/ipv4/tcp_offload.c``).

A stock WireGuard peer's packets arrive one by one; each write to the TUN device costs more than
opening a packet. Consecutive segments become one super-packet if cutting that up would give the
same packets again, byte for byte, apart from the identification of IPv4 packets that may not be
fragmented, which means nothing (RFC 6864). What is in any way unusual is left alone.

A super-packet is taken by the kernel as verified: hence a packet whose checksum is wrong must not
become part of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter
from struct import Struct

import numpy as np
import numpy.typing as npt

from tunnelmesh.bulk.checksum import Words, sums, swapped
from tunnelmesh.bulk.layout import MAX_SEGMENTS, Layout, layout_of, pattern
from tunnelmesh.bulk.super_packet import SuperPacket
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
    checksum,
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

LARGEST = 65535
"""Bytes of the largest super-packet."""

_IPV4_KEY = itemgetter(slice(12, 24))
_IPV6_KEY = itemgetter(slice(8, 44))
"""Addresses and ports."""

_U16 = Struct(">H")

Octets = npt.NDArray[np.uint8]


def coalesce(packets: Sequence[bytes], udp: bool = False) -> list[bytes | SuperPacket]:
    """Make super-packets of consecutive segments; leave everything else as it is.

    The order of packets within a flow is kept. Where flows are mixed, packets of one may overtake
    those of another.

    :param packets: IP packets, of any kind and condition.
    :param udp: whether UDP datagrams are put together too.
    """
    if len(packets) < 2:
        return list(packets)
    first_key = _IPV4_KEY if packets[0][:1] == b"\x45" else _IPV6_KEY
    if len(set(map(first_key, packets))) == 1:
        return _one_flow(packets, udp)
    keys = [each[12:24] if each[:1] == b"\x45" else each[8:44] for each in packets]
    if len(set(keys)) == len(packets):
        return list(packets)
    flows: dict[bytes, list[int]] = {}
    for index, key in enumerate(keys):
        flows.setdefault(key, []).append(index)
    found: list[tuple[int, bytes | SuperPacket]] = []
    for indices in flows.values():
        at = 0
        for each in _one_flow([packets[index] for index in indices], udp):
            found.append((indices[at], each))
            at += each.count if isinstance(each, SuperPacket) else 1
    found.sort(key=itemgetter(0))
    return [each for _, each in found]


def _one_flow(packets: Sequence[bytes], udp: bool) -> list[bytes | SuperPacket]:
    """Put packets between the same ports together."""
    found: list[bytes | SuperPacket] = []
    lengths = list(map(len, packets))
    end = len(packets)
    at = 0
    while at < end:
        length = lengths[at]
        stop = at + 1
        most = min(at + MAX_SEGMENTS, at + LARGEST // (length or 1), end)
        while stop < most and lengths[stop] == length:
            stop += 1
        if stop < most and lengths[stop] < length:
            stop += 1
        found += _alike(packets[at:stop], udp)
        at = stop
    return found


def _alike(packets: Sequence[bytes], udp: bool) -> Sequence[bytes | SuperPacket]:
    """Put packets of one length together, of which the last may be shorter."""
    layout = layout_of(packets[0], udp) if len(packets) > 1 else None
    if layout is None:
        return packets
    length, headers, transport, protocol, _ = layout
    last = packets[-1]
    short = length - len(last)
    if short and not layout.ends(last):
        return [*_alike(packets[:-1], udp), last]
    count = len(packets)
    rows = bytes(-length % 4).join([*packets, bytes(short)])
    octets = np.frombuffer(rows, np.uint8).reshape(count, -1)
    words = octets.view("<u4")

    common = _common(words, layout, short)
    wrong = _wrong(words, layout, short)
    flags = octets[:, transport + 13].tobytes() if protocol == TCP else bytes(count)
    if (
        common == common[:headers] * count
        and flags.count(flags[0], 0, -1) == count - 1
        and not flags[0] & (CWR | FIN | PSH)
        and not flags[-1] & CWR
        and not any(wrong)
    ):
        bounds = [0, count]
    else:
        bounds = _bounds(common, flags, wrong)

    found: list[bytes | SuperPacket] = []
    for begin, end in pairwise(bounds):
        if end - begin > 1 and (not begin or layout_of(packets[begin], udp) == layout):
            found.append(_super_packet(packets[begin:end], octets[begin:end], layout))
        else:
            found += packets[begin:end]
    return found


def _common(words: Words, layout: Layout, short: int) -> bytes:
    """All packets' headers, reduced so that those of packets that continue each other are equal.

    :param short: by how much the last packet is shorter.
    """
    _, headers, transport, protocol, numbered = layout
    count = len(words)
    masks, offsets = pattern(layout)
    common = words[:, : headers // 4].copy()
    common &= masks[:count]
    octets = common.view(np.uint8)
    if protocol == TCP:
        sequence = common[:, transport // 4 + 1]
        sequence[:] = sequence.byteswap() - offsets[:count]
    if numbered:
        identification = octets.view("<u2")[:, 2]
        identification[:] = identification.byteswap() - np.arange(count, dtype=np.uint16)
    if short:
        at = 2 if transport == IPV4_HEADER else 4
        octets[-1, at : at + 2] = octets[0, at : at + 2]
        if protocol == UDP:
            octets[-1, transport + 4 : transport + 6] = octets[0, transport + 4 : transport + 6]
    return common.tobytes()


def _wrong(words: Words, layout: Layout, short: int) -> list[int]:
    """For each packet 0 if its checksums are right.

    Of IPv4 and IPv6 alike, the addresses, which go into TCP's and UDP's checksum, are right before
    the next header.
    """
    length, _, transport, protocol, _ = layout
    is_v4 = transport == IPV4_HEADER
    totals = sums(words[:, 3 if is_v4 else 2 :])
    totals += swapped(length - transport + protocol)
    totals[-1] -= swapped(short)
    wrong = totals % 65535
    if is_v4:
        wrong |= sums(words[:, : IPV4_HEADER // 4]) % 65535
    outcome: list[int] = wrong.tolist()
    return outcome


def _bounds(common: bytes, flags: bytes, wrong: list[int]) -> list[int]:
    """Where runs begin, and where the last one ends."""
    count = len(flags)
    width = len(common) // count
    bounds = [0]
    before = common[:width]
    for index in range(1, count):
        this = common[index * width : (index + 1) * width]
        if (
            this != before
            or flags[index - 1] & (FIN | PSH)
            or flags[index] & CWR
            or wrong[index - 1]
            or wrong[index]
        ):
            bounds.append(index)
        before = this
    bounds.append(count)
    return bounds


def _super_packet(packets: Sequence[bytes], octets: Octets, layout: Layout) -> SuperPacket:
    """The super-packet of packets that continue each other."""
    length, headers, transport, protocol, _ = layout
    size = length - headers
    last = packets[-1]
    total = (len(packets) - 1) * size + len(last)
    buffer = bytearray(HEADER_SIZE + total)
    full = len(packets) - (len(last) < length)
    at = HEADER_SIZE + headers
    payload = np.frombuffer(buffer, np.uint8, full * size, at).reshape(full, size)
    payload[:] = octets[:full, headers:length]
    if full < len(packets):
        buffer[at + full * size :] = last[headers:]

    head = bytearray(packets[0][:headers])
    if transport == IPV4_HEADER:
        kind = GSO_TCPV4
        addresses = head[12:20]
        _U16.pack_into(head, 2, total)
        _U16.pack_into(head, 10, 0)
        _U16.pack_into(head, 10, checksum(head[:IPV4_HEADER]))
    else:
        kind = GSO_TCPV6
        addresses = head[8:40]
        _U16.pack_into(head, 4, total - IPV6_HEADER)
    if protocol == TCP:
        field = TCP_CHECKSUM
        head[transport + 13] |= last[transport + 13] & (FIN | PSH)
        if head[transport + 13] & CWR:
            kind |= GSO_ECN
    else:
        field = UDP_CHECKSUM
        kind = GSO_UDP_L4
        _U16.pack_into(head, transport + 4, total - transport)
    pseudo = int.from_bytes(addresses, "big") + protocol + total - transport
    _U16.pack_into(head, transport + field, pseudo % 65535)
    pack_into(buffer, 0, NEEDS_CSUM, kind, headers, size, transport, field)
    buffer[HEADER_SIZE:at] = head
    return SuperPacket(buffer, 0, len(buffer))
