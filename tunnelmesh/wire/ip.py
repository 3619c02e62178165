"""What the fast path needs to know of IP (RFC 791, 8200), TCP (RFC 9293) and UDP (RFC 768)."""

from __future__ import annotations

TCP = 6
UDP = 17
"""Protocol numbers."""

FIN = 0x01
PSH = 0x08
CWR = 0x80
"""Bits of the TCP header's byte 13."""

IPV4_HEADER = 20
IPV6_HEADER = 40
TCP_HEADER = 20
UDP_HEADER = 8
"""Bytes of each header without options."""

TCP_CHECKSUM = 16
UDP_CHECKSUM = 6
"""Where in each header the checksum is."""

EXTENSIONS = frozenset({0, 43, 60})
"""IPv6 extension headers that every segment of a super-packet repeats: hop-by-hop options, routing
and destination options (RFC 8200, 4)."""


def checksum(data: bytes | bytearray | memoryview) -> int:
    """The Internet checksum (RFC 1071).

    2**16 is 1 modulo 65535, so the big-endian number that the bytes are is, modulo 65535, the sum
    of its 16-bit words: one division does it all in C.

    :param data: not only zeros; where the length is odd, a zero follows.
    :returns: 0 to 65534.
    """
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    return -number % 65535


def packet_length(packet: bytes | bytearray | memoryview, at: int = 0) -> int:
    """The length in bytes that the IP header at *at* announces, or 0 if it is no IP header.

    :param packet: at least 6 bytes from *at* on.
    """
    version = packet[at] >> 4
    if version == 4:
        return (packet[at + 2] << 8) | packet[at + 3]
    if version == 6:
        return IPV6_HEADER + ((packet[at + 4] << 8) | packet[at + 5])
    return 0


def complete_checksum(buffer: bytearray, start: int, stop: int, field: int, udp: bool) -> None:
    """Finish the checksum of a TCP or UDP packet that the kernel left undone (``NEEDS_CSUM``).

    :param start: where the TCP or UDP header starts; *stop*: where its payload ends.
    :param field: where the checksum is; it holds the pseudo-header's sum.
    :param udp: whether 0 means that there is no checksum, so that 0xFFFF, its equal, is written.
    """
    value = checksum(buffer[start:stop])
    if udp and not value:
        value = 0xFFFF
    buffer[field] = value >> 8
    buffer[field + 1] = value & 0xFF
