"""The one thing that the tunnel tells the kernel about a packet: it is too long for the path.

Over IPv4 "fragmentation needed" (RFC 792, with the next hop's MTU of RFC 1191, 4), over IPv6
"packet too big" (RFC 4443, 3.2). It is written into the TUN device and so never leaves the machine;
the kernel remembers the MTU for the destination, and TCP makes its segments shorter.
"""

from __future__ import annotations

import struct

from tunnelmesh.wire.ip import IPV4_HEADER, IPV6_HEADER, checksum

MIN_MTU6 = 1280
"""Bytes: nothing less may be told over IPv6 (RFC 8200, 5), where whoever has narrower links carries
1,280 bytes in parts below IP."""

QUOTED6 = MIN_MTU6 - IPV6_HEADER - 8
"""Bytes of an IPv6 packet that are repeated: as many as fit (RFC 4443, 2.4). Of an IPv4 packet its
header is, and 8 more (RFC 792)."""

_SHORTEST = 68
"""Bytes: the longest IPv4 header, and 8 more. Every link takes packets of this length."""

_ICMP = 1
_ICMP6 = 58
_HOPS = 64

_HEADER4 = struct.Struct(">BBHHHBBH4s4s")
_HEADER6 = struct.Struct(">IHBB16s16s")
_UNREACHABLE = struct.Struct(">BBHHH")
_TOO_BIG = struct.Struct(">BBHI")


def too_big(packet: bytes | bytearray | memoryview, mtu: int) -> bytes | None:
    """What a router would answer to a packet that its next hop does not take.

    It comes from where the packet was going: a place whose packets the device is known to bring.

    :param packet: the whole of it, or its first bytes.
    :param mtu: bytes of the longest packet that passes.
    :returns: an IP packet; None if such an answer makes no sense: to an ICMP error, or to a
        fragment that is not the first (RFC 1122, 3.2.2), or one too short to tell.
    """
    if len(packet) < _SHORTEST:
        return None
    version = packet[0] >> 4
    if version == 4:
        return _fragmentation_needed(packet, mtu)
    return _packet_too_big(packet, max(mtu, MIN_MTU6)) if version == 6 else None


def _fragmentation_needed(packet: bytes | bytearray | memoryview, mtu: int) -> bytes | None:
    header = (packet[0] & 15) << 2
    if (packet[6] & 0x1F or packet[7]) or (packet[9] == _ICMP and packet[header] not in (0, 8)):
        return None
    quoted = bytes(packet[: header + 8])
    message = bytearray(_UNREACHABLE.pack(3, 4, 0, 0, mtu) + quoted)
    struct.pack_into(">H", message, 2, checksum(message))
    length = IPV4_HEADER + len(message)
    source, destination = quoted[16:20], quoted[12:16]
    answer = bytearray(
        _HEADER4.pack(0x45, 0, length, 0, 0, _HOPS, _ICMP, 0, source, destination) + message
    )
    struct.pack_into(">H", answer, 10, checksum(answer[:IPV4_HEADER]))
    return bytes(answer)


def _packet_too_big(packet: bytes | bytearray | memoryview, mtu: int) -> bytes | None:
    if packet[6] == _ICMP6 and packet[IPV6_HEADER] < 128:  # below are the errors
        return None
    quoted = bytes(packet[:QUOTED6])
    source, destination = quoted[24:40], quoted[8:24]
    message = bytearray(_TOO_BIG.pack(2, 0, 0, mtu) + quoted)
    pseudo = source + destination + struct.pack(">II", len(message), _ICMP6)
    struct.pack_into(">H", message, 2, checksum(pseudo + message))
    header = _HEADER6.pack(6 << 28, len(message), _ICMP6, _HOPS, source, destination)
    return header + bytes(message)
