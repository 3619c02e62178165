"""The virtio header that a packet's own headers imply.

Two peers do not send it to each other: what a remote peer did not say need not be doubted.
"""

from __future__ import annotations

from tunnelmesh.bulk.super_packet import SuperPacket, skip_extensions
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


def read_described(buffer: bytearray, start: int, stop: int, segment_size: int) -> SuperPacket:
    """The super-packet at *start*, its virtio header written.

    :raises DecodeError: if it is none, or not as long as its IP header says.
    """
    describe(buffer, start, stop, segment_size)
    return SuperPacket.read(buffer, start, stop)
