"""Which protocol a packet carries, and where: also of packets that are meant to hide it."""

from __future__ import annotations

from tunnelmesh.wire.ip import IPV4_HEADER, IPV6_HEADER

MALFORMED = -1
"""In place of a protocol: a header that cannot be, or that is not looked through."""

FRAGMENT = -2
"""In place of a protocol: a later piece of a packet. By itself it comes to nothing: without the
first, which is judged, the receiver puts nothing together."""

_HOP_BY_HOP, _FRAGMENT, _OPTIONS = 0, 44, 60
"""IPv6 extension headers that are looked through (RFC 8200, 4). Routing headers are not: they lead
a packet on to elsewhere. Nor is anything newer."""

MOST_EXTENSIONS = 8
"""Extension headers that are looked through: RFC 8200, 4.1 knows no use for more than seven."""

_NEAREST = 8
"""Units of 8 bytes: no later fragment begins before. One that did could lie over the TCP header
that was judged, flags and all (RFC 1858, 3; RFC 3128); no link is so narrow as to need it."""


def transport(packet: bytes | bytearray | memoryview, at: int) -> tuple[int, int]:
    """Find the transport header.

    :param at: where in *packet* the IP header starts; that has its minimal length.
    :returns: protocol number, and where its header starts; it may be cut off. Or
        :data:`MALFORMED`, or :data:`FRAGMENT`.
    """
    if packet[at] >> 4 != 4:
        return _transport6(packet, at)
    length = (packet[at] & 15) << 2
    if length < IPV4_HEADER:
        return MALFORMED, at
    offset = (packet[at + 6] & 0x1F) << 8 | packet[at + 7]
    if offset:
        return (FRAGMENT if offset >= _NEAREST else MALFORMED), at
    return packet[at + 9], at + length


def _transport6(packet: bytes | bytearray | memoryview, at: int) -> tuple[int, int]:
    following = packet[at + 6]
    here = at + IPV6_HEADER
    for _ in range(MOST_EXTENSIONS):
        if following not in (_HOP_BY_HOP, _FRAGMENT, _OPTIONS):
            return following, here
        if here + 8 > len(packet):
            break
        if following != _FRAGMENT:
            following = packet[here]
            here += (packet[here + 1] + 1) << 3
            continue
        offset = packet[here + 2] << 5 | packet[here + 3] >> 3
        if offset:
            return (FRAGMENT if offset >= _NEAREST else MALFORMED), at
        following = packet[here]
        here += 8
        if following in (_HOP_BY_HOP, _FRAGMENT, _OPTIONS):
            break  # more headers inside the fragments: a later one could lie over them
    return MALFORMED, at
