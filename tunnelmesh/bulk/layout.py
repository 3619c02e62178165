"""How packets are made up that can continue each other, and what they then have in common."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import NamedTuple

import numpy as np

from tunnelmesh.bulk.checksum import Words
from tunnelmesh.bulk.super_packet import MIN_TCP_SEGMENT
from tunnelmesh.wire.ip import (
    IPV4_HEADER,
    IPV6_HEADER,
    TCP,
    TCP_HEADER,
    UDP,
    UDP_HEADER,
    packet_length,
)

MAX_SEGMENTS = 64
"""Most packets put together: ``UDP_MAX_SEGMENTS`` of older kernels, and all that one call reads."""

MAX_ROWS = 512
"""Most packets looked at together."""

_IPV4 = bytes.fromhex("ffffffff 0000ffff ffff0000 ffffffff ffffffff")
"""What consecutive packets have in common: not the identification and the checksum."""

_IPV4_NUMBERED = bytes.fromhex("ffffffff ffffffff ffff0000 ffffffff ffffffff")
"""The same, where identifications count (RFC 6864): packets that may be fragmented."""

_IPV6 = b"\xff" * IPV6_HEADER

_TCP = bytes.fromhex("ffffffff ffffffff ffffffff ff76ffff 0000ffff") + b"\xff" * 40
"""The same: not CWR, PSH, FIN and the checksum. The sequence number is reduced to the first's."""

_UDP = bytes.fromhex("ffffffff ffff0000")

_FLAGS = 0x36
_ACK = 0x10
"""Of URG, ACK, RST and SYN only ACK is set in a segment that can be one of many."""

_MORE_FRAGMENTS_OR_OFFSET = 0x3F
_DONT_FRAGMENT = 0x40
"""Bits of the IPv4 header's byte 6."""

_U16 = Struct(">H")


class Layout(NamedTuple):
    """What all packets of a run are like; sizes in bytes.

    :ivar length: of each packet but the last, which may be shorter.
    :ivar numbered: whether their identifications count (IPv4).
    """

    length: int
    headers: int
    transport: int
    protocol: int
    numbered: bool

    def ends(self, packet: bytes) -> bool:
        """Whether a shorter packet can be the last: it has a payload, and says its length."""
        length = len(packet)
        if length <= self.headers or packet_length(packet) != length:
            return False
        return self.protocol == TCP or _udp_length(packet, self.transport) == length


def layout_of(packet: bytes, udp: bool) -> Layout | None:
    """The layout of a packet that others may follow; None if it is in any way unusual.

    :param udp: whether datagrams may follow each other too.
    """
    length = len(packet)
    if length < IPV4_HEADER + UDP_HEADER or packet_length(packet) != length:
        return None
    numbered = False
    if packet[0] == 0x45 and not packet[6] & _MORE_FRAGMENTS_OR_OFFSET and not packet[7]:
        transport, protocol = IPV4_HEADER, packet[9]
        numbered = not packet[6] & _DONT_FRAGMENT
    elif packet[0] >> 4 == 6:
        transport, protocol = IPV6_HEADER, packet[6]
    else:
        return None
    if protocol == TCP and length > transport + TCP_HEADER:
        headers = transport + (packet[transport + 12] >> 4 << 2)
        if packet[transport + 13] & _FLAGS != _ACK or headers < transport + TCP_HEADER:
            return None
    elif protocol == UDP and udp and length > transport + UDP_HEADER:
        headers = transport + UDP_HEADER
        if _udp_length(packet, transport) != length:
            return None
    else:
        return None
    if length < headers + MIN_TCP_SEGMENT:
        return None
    return Layout(length, headers, transport, protocol, numbered)


@lru_cache(16)
def pattern(layout: Layout) -> tuple[Words, Words]:
    """The mask of what a packet's headers have in common with others', and for each packet of a run
    how many bytes of payload go before its own."""
    length, headers, transport, protocol, numbered = layout
    of_ip = _IPV6 if transport == IPV6_HEADER else _IPV4_NUMBERED if numbered else _IPV4
    mask = (of_ip + (_TCP if protocol == TCP else _UDP))[:headers]
    offsets = np.arange(MAX_ROWS, dtype=np.uint32) * np.uint32(length - headers)
    return np.frombuffer(mask, "<u4"), offsets


def _udp_length(packet: bytes, transport: int) -> int:
    """How long the packet is according to its UDP header."""
    said: int = _U16.unpack_from(packet, transport + 4)[0]
    return transport + said
