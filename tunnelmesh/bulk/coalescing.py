"""Putting packets of one flow together again, as the kernel does (``net/ipv4/tcp_offload.c``).

A stock WireGuard peer's packets arrive one by one; each write to the TUN device costs more than
opening a packet. So consecutive segments become one super-packet (:mod:`tunnelmesh.bulk.rows`).
What is in any way unusual is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter

import numpy as np

from tunnelmesh.bulk.layout import MAX_SEGMENTS, layout_of
from tunnelmesh.bulk.rows import Rows
from tunnelmesh.bulk.super_packet import SuperPacket

LARGEST = 65535
"""Bytes of the largest super-packet."""

_IPV4_KEY = itemgetter(slice(12, 24))
_IPV6_KEY = itemgetter(slice(8, 44))
"""Addresses and ports."""


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
    last = packets[-1]
    short = layout.length - len(last)
    if short and not layout.ends(last):
        return [*_alike(packets[:-1], udp), last]
    joined = bytes(-layout.length % 4).join([*packets, bytes(short)])
    octets = np.frombuffer(joined, np.uint8).reshape(len(packets), -1)
    rows = Rows(octets, layout, len(last))
    found: list[bytes | SuperPacket] = []
    for begin, end in pairwise(rows.bounds()):
        if end - begin > 1 and (not begin or layout_of(packets[begin], udp) == layout):
            buffer = bytearray(rows.size(begin, end))
            rows.join(begin, end, buffer, 0)
            found.append(SuperPacket(buffer, 0, len(buffer)))
        else:
            found += packets[begin:end]
    return found
