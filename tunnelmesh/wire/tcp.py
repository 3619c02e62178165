"""TCP segments (RFC 9293) in IP packets, sent back where they came from: between other ports, or
refused.

A packet whose two addresses change places has the same sums as before, in the IPv4 header, in the
pseudo-header and so in a checksum that the kernel left undone (``NEEDS_CSUM``). Only other ports
change a finished TCP checksum, and by their difference (RFC 1624).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tunnelmesh.wire.ip import IPV4_HEADER, IPV6_HEADER, TCP, TCP_CHECKSUM, TCP_HEADER, checksum

FIN = 0x01
SYN = 0x02
RST = 0x04
ACK = 0x10
"""Bits of the header's byte 13."""

_START = struct.Struct(">HHIIBB")
_PORTS = struct.Struct(">HH")
_U16 = struct.Struct(">H")
_HEADER = struct.Struct(">HHIIBBHHH")


class Segment(NamedTuple):
    """The start of a TCP header.

    :ivar at: where, from the start of the IP packet, it is.
    :ivar sequence: of the first byte; *acknowledged*: the next one expected.
    :ivar flags: :data:`SYN` and others.
    """

    at: int
    source: int
    destination: int
    sequence: int
    acknowledged: int
    flags: int

    @property
    def opens(self) -> bool:
        """Whether it asks for a connection."""
        return self.flags & (SYN | ACK | RST) == SYN


def read(packet: bytes | bytearray | memoryview, start: int = 0) -> Segment | None:
    """The segment in an IP packet.

    :param start: where in *packet* the IP header is; all of its fixed part is there.
    :returns: None if it is not TCP, is a fragment, or has extension headers.
    """
    if packet[start] >> 4 == 4:
        at = (packet[start] & 15) << 2
        if packet[start + 9] != TCP or packet[start + 6] & 0x3F or packet[start + 7]:
            return None
    else:
        at = IPV6_HEADER
        if packet[start + 6] != TCP:
            return None
    if at < IPV4_HEADER or len(packet) < start + at + TCP_HEADER:
        return None
    source, destination, sequence, acknowledged, _, flags = _START.unpack_from(packet, start + at)
    return Segment(at, source, destination, sequence, acknowledged, flags)


def turn(packet: bytearray | memoryview, start: int, at: int, ports: tuple[int, int]) -> None:
    """Exchange the two addresses of a packet, in place, and put in other ports.

    Its checksum is right afterwards if it is one that the kernel left undone.

    :param start: where in *packet* the IP header is; *at*: where, from there, the TCP header is.
    :param ports: the new source and destination.
    """
    if packet[start] >> 4 == 4:
        one, two, end = start + 12, start + 16, start + 20
    else:
        one, two, end = start + 8, start + 24, start + 40
    packet[one:end] = bytes(packet[two:end]) + bytes(packet[one:two])
    _PORTS.pack_into(packet, start + at, *ports)


def turned(packet: bytes, segment: Segment, ports: tuple[int, int]) -> bytes:
    """A packet with a finished checksum, back to where it came from, between other ports.

    :param segment: what was read of it.
    :param ports: the new source and destination.
    """
    answer = bytearray(packet)
    turn(answer, 0, segment.at, ports)
    field = segment.at + TCP_CHECKSUM
    before = segment.source + segment.destination
    total = _U16.unpack_from(packet, field)[0] + before - ports[0] - ports[1]
    _U16.pack_into(answer, field, total % 65535)
    return bytes(answer)


def reset(packet: bytes, segment: Segment) -> bytes | None:
    """What a machine answers where nobody listens (RFC 9293, 3.10.7.1).

    :param segment: what was read of *packet*.
    :returns: an IP packet; None if *segment* is itself a reset.
    """
    flags = segment.flags
    if flags & RST:
        return None
    if flags & ACK:
        sequence, acknowledged, answer = segment.acknowledged, 0, RST
    else:
        end = segment.at + (packet[segment.at + 12] >> 4 << 2)
        length = max(0, len(packet) - end) + (flags & SYN > 0) + (flags & FIN > 0)
        sequence, acknowledged, answer = 0, (segment.sequence + length) % 2**32, RST | ACK
    header = bytearray(
        _HEADER.pack(
            segment.destination, segment.source, sequence, acknowledged, 5 << 4, answer, 0, 0, 0
        )
    )
    if packet[0] >> 4 == 4:
        addresses = packet[16:20] + packet[12:16]
        ip = bytearray(packet[:IPV4_HEADER])
        ip[0] = 0x45
        _U16.pack_into(ip, 2, IPV4_HEADER + TCP_HEADER)
        ip[10:20] = b"\0\0" + addresses
        _U16.pack_into(ip, 10, checksum(ip))
    else:
        addresses = packet[24:40] + packet[8:24]
        ip = bytearray(packet[:8] + addresses)
        _U16.pack_into(ip, 4, TCP_HEADER)
    pseudo = addresses + struct.pack(">HH", TCP, TCP_HEADER)
    _U16.pack_into(header, TCP_CHECKSUM, checksum(pseudo + header))
    return bytes(ip + header)
