"""The virtio header that a packet's own headers imply.

Two peers do not send it to each other: what a remote peer did not say need not be doubted.
"""

from __future__ import annotations

import struct

from tunnelmesh.bulk.super_packet import MIN_TCP_SEGMENT, SuperPacket, skip_extensions
from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.ip import (
    CWR,
    IPV4_HEADER,
    TCP,
    TCP_CHECKSUM,
    TCP_HEADER,
    UDP,
    UDP_CHECKSUM,
    UDP_HEADER,
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

_USUAL = struct.Struct(">BxHxxHxB22xBB")
"""Of an IPv4 header without options and the TCP header after it: version and header length, length,
flags and fragment offset, protocol; data offset and flags."""

_LONGEST_USUAL = IPV4_HEADER + 60
"""Bytes of such headers with all the options that TCP may have."""

_NO_OPTIONS = 0x45
_FRAGMENT = 0x3FFF


def headers_of(buffer: bytearray, at: int, stop: int) -> tuple[int, int, int]:
    """How far the headers of a packet at *at* reach.

    :param stop: where what there is of the packet ends.
    :returns: the protocol, where the TCP or UDP header starts in the packet, and where it ends.
    :raises DecodeError: if they are cut off, or are neither TCP's nor UDP's.
    """
    if stop - at < IPV4_HEADER + UDP_HEADER:
        raise DecodeError("super-packet's headers are cut off")
    if buffer[at] >> 4 == 4:
        protocol, transport = buffer[at + 9], (buffer[at] & 15) << 2
    else:
        protocol, transport = skip_extensions(buffer, at, stop)
    if protocol == TCP and at + transport + TCP_HEADER <= stop:
        end = transport + (buffer[at + transport + 12] >> 4 << 2)
    elif protocol == UDP and at + transport + UDP_HEADER <= stop:
        end = transport + UDP_HEADER
    else:
        raise DecodeError("super-packet is neither TCP nor UDP, or cut off")
    if at + end > stop:
        raise DecodeError("super-packet's headers are cut off")
    return protocol, transport, end


def describe(buffer: bytearray, start: int, stop: int, segment_size: int) -> None:
    """Write the virtio header of the super-packet whose IP header follows it.

    :param start: where to write it; *stop*: where what there is of the packet ends.
    :param segment_size: bytes of payload in each segment.
    :raises DecodeError: if the packet is no super-packet.
    """
    at = start + HEADER_SIZE
    protocol, transport, headers = headers_of(buffer, at, stop)
    if protocol == UDP:
        kind, checksum = GSO_UDP_L4, UDP_CHECKSUM
    else:
        kind = GSO_TCPV4 if buffer[at] >> 4 == 4 else GSO_TCPV6
        checksum = TCP_CHECKSUM
        if buffer[at + transport + 13] & CWR:
            kind |= GSO_ECN
    pack_into(buffer, start, NEEDS_CSUM, kind, headers & 0xFFFF, segment_size, transport, checksum)


def describe_whole(buffer: bytearray, start: int, stop: int, segment_size: int) -> None:
    """The same for a packet that ends at *stop*.

    :raises DecodeError: also if it is not as long as its IP header says.
    """
    at = start + HEADER_SIZE
    length = stop - at
    if length > _LONGEST_USUAL:  # nearly always, and nearly always TCP over IPv4
        first, said, fragment, protocol, offset, flags = _USUAL.unpack_from(buffer, at)
        headers = IPV4_HEADER + (offset >> 4 << 2)
        if (
            first == _NO_OPTIONS
            and protocol == TCP
            and said == length
            and not fragment & _FRAGMENT
            and headers >= IPV4_HEADER + TCP_HEADER
            and segment_size >= MIN_TCP_SEGMENT
        ):
            kind = GSO_TCPV4 | GSO_ECN if flags & CWR else GSO_TCPV4
            pack_into(
                buffer, start, NEEDS_CSUM, kind, headers, segment_size, IPV4_HEADER, TCP_CHECKSUM
            )
            return
    describe(buffer, start, stop, segment_size)
    SuperPacket.read(buffer, start, stop)
