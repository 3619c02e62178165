"""A super-packet: one header, and the payload of many segments.

It comes from the machine's own kernel, or from a remote peer, whose every word is checked: the
kernel refuses, or worse believes, a virtio header that does not fit its packet. Not checked are the
two checksums; a wrong one makes the kernel drop what the sender wanted to arrive.
"""

from __future__ import annotations

from struct import Struct

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.ip import (
    EXTENSIONS,
    IPV4_HEADER,
    IPV6_HEADER,
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
    VirtioHeader,
    unpack,
)

MIN_TCP_SEGMENT = 8
"""Smallest TCP segment, in bytes of payload: Linux sends none smaller (``TCP_MIN_SND_MSS`` less the
longest options), and a remote peer must not make the kernel cut 64 KB into single bytes."""

MAX_UDP_SEGMENTS = 128
"""Most datagrams in one super-packet: Linux's ``UDP_MAX_SEGMENTS``."""

_U16 = Struct(">H")


class SuperPacket:
    """A super-packet in a buffer that somebody else keeps, valid until that is filled again.

    :ivar buffer: holds the virtio header from ``start`` on, then the IP packet up to ``stop``.
    :ivar headers: bytes of the IP and TCP or UDP headers, extensions and options included.
    :ivar transport: where, from the start of the IP packet, the TCP or UDP header starts.
    :ivar segment_size: bytes of payload in each segment but the last, which may be shorter.
    :ivar count: how many segments.
    :ivar protocol: 6 for TCP, 17 for UDP.
    """

    __slots__ = (
        "buffer",
        "count",
        "headers",
        "is_v6",
        "protocol",
        "segment_size",
        "start",
        "stop",
        "transport",
    )

    def __init__(self, buffer: bytearray, start: int, stop: int) -> None:
        """The super-packet that the headers in ``buffer[start:stop]`` describe.

        Its ``stop`` is where it would end; of its payload any part may be there, or none.

        :raises DecodeError: if a header is cut off, or the virtio header does not fit the others.
        """
        at = start + HEADER_SIZE
        there = stop - at
        if there < IPV4_HEADER + UDP_HEADER:
            raise DecodeError("super-packet's headers are cut off")
        flags, gso_type, header_size, size, checksum_start, checksum_offset = unpack(buffer, start)
        version = buffer[at] >> 4
        if version == 4:
            transport = (buffer[at] & 15) << 2
            length = (buffer[at + 2] << 8) | buffer[at + 3]
            protocol = buffer[at + 9]
            if transport < IPV4_HEADER or buffer[at + 6] & 0x3F or buffer[at + 7]:
                raise DecodeError("super-packet's IPv4 header is malformed, or a fragment's")
        elif version == 6:
            length = IPV6_HEADER + ((buffer[at + 4] << 8) | buffer[at + 5])
            protocol, transport = skip_extensions(buffer, at, stop)
        else:
            raise DecodeError("super-packet is neither IPv4 nor IPv6")

        if protocol == TCP and there >= transport + TCP_HEADER:
            headers = transport + (buffer[at + transport + 12] >> 4 << 2)
            fits = (
                headers >= transport + TCP_HEADER
                and gso_type & ~GSO_ECN == (GSO_TCPV4 if version == 4 else GSO_TCPV6)
                and checksum_offset == TCP_CHECKSUM
                and size >= MIN_TCP_SEGMENT
            )
        elif protocol == UDP and there >= transport + UDP_HEADER:
            headers = transport + UDP_HEADER
            said = at + transport + 4
            fits = (
                (buffer[said] << 8) | buffer[said + 1] == length - transport
                and gso_type == GSO_UDP_L4
                and checksum_offset == UDP_CHECKSUM
                and size * MAX_UDP_SEGMENTS >= length - headers
            )
        else:
            raise DecodeError("super-packet is neither TCP nor UDP, or cut off")
        if not fits or flags != NEEDS_CSUM or checksum_start != transport or header_size > length:
            raise DecodeError("super-packet's headers do not fit each other")
        if not headers <= there or headers >= length:
            raise DecodeError("super-packet's headers are cut off, or nothing follows them")

        self.buffer = buffer
        self.start = start
        self.stop = at + length
        self.headers = headers
        self.transport = transport
        self.segment_size = size
        self.count = (length - headers + size - 1) // size
        self.protocol = protocol
        self.is_v6 = version == 6

    @classmethod
    def read(cls, buffer: bytearray, start: int, stop: int) -> SuperPacket:
        """The super-packet in ``buffer[start:stop]``, all of it.

        :raises DecodeError: if its virtio header does not fit the packet.
        """
        packet = cls(buffer, start, stop)
        if packet.stop != stop:
            raise DecodeError("super-packet's length is not what its IP header says")
        return packet

    @property
    def length(self) -> int:
        """Bytes of the IP packet."""
        return self.stop - self.start - HEADER_SIZE

    @property
    def header(self) -> VirtioHeader:
        """The virtio header."""
        return VirtioHeader.unpack_from(self.buffer, self.start)

    def write_lengths(self, headers: bytearray | memoryview, at: int, length: int) -> None:
        """Make a copy of the headers, or themselves, those of a packet of *length* bytes.

        The pseudo-header's sum is changed by the difference (RFC 1624), so that it need not be
        known which addresses went into it: with a routing header, one is not in the IPv6 header.

        :param at: where in *headers* the IP header starts. Its checksum is left as it is.
        """
        if self.is_v6:
            _U16.pack_into(headers, at + 4, length - IPV6_HEADER)
        else:
            _U16.pack_into(headers, at + 2, length)
        transport = self.transport
        field = transport + TCP_CHECKSUM
        if self.protocol == UDP:
            _U16.pack_into(headers, at + transport + 4, length - transport)
            field = transport + UDP_CHECKSUM
        start = self.start + HEADER_SIZE
        total = _U16.unpack_from(self.buffer, start + field)[0] - (self.stop - start) + length
        _U16.pack_into(headers, at + field, total % 65535)

    def packets(self) -> list[bytes]:
        """Cut it up: the complete IP packets, in order, that the kernel would have sent instead."""
        from tunnelmesh.bulk.segmentation import cut  # numpy: 0.2 s and 16 MB, not always needed

        return cut(self)


def skip_extensions(buffer: bytearray, at: int, stop: int) -> tuple[int, int]:
    """Which protocol an IPv6 packet carries, and where in the packet that starts.

    :raises DecodeError: if an extension header is cut off.
    """
    following = buffer[at + 6]
    offset = IPV6_HEADER
    while following in EXTENSIONS:
        here = at + offset
        if here + 8 > stop:
            raise DecodeError("super-packet's extension headers are cut off")
        following = buffer[here]
        offset += (buffer[here + 1] + 1) << 3
    return following, offset
