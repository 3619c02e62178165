"""What ICMP says for a remote peer: a packet is too long, nobody is there, or an echo.

Over IPv4 RFC 792, with the next hop's MTU of RFC 1191, 4; over IPv6 RFC 4443. The errors are
written into the TUN device and so never leave the machine: of a packet that is too long the kernel
remembers the MTU for the destination, and TCP makes its segments shorter; of one that cannot be
delivered it tells the program that sent it.
"""

from __future__ import annotations

import struct

from tunnelmesh.wire.ip import IPV4_HEADER, IPV6_HEADER, checksum

ICMP = 1
ICMP6 = 58
"""Protocol numbers."""

HOST_UNREACHABLE = (1, 3)
PORT_UNREACHABLE = (3, 4)
"""Why a packet cannot be delivered: the code over IPv4 (RFC 792), and over IPv6 (RFC 4443, 3.1)."""

MIN_MTU6 = 1280
"""Bytes: nothing less may be told over IPv6 (RFC 8200, 5), where whoever has narrower links carries
1,280 bytes in parts below IP."""

QUOTED6 = MIN_MTU6 - IPV6_HEADER - 8
"""Bytes of an IPv6 packet that are repeated: as many as fit (RFC 4443, 2.4). Of an IPv4 packet its
header is, and 8 more (RFC 792)."""

_HOPS = 64

_HEADER4 = struct.Struct(">BBHHHBBH4s4s")
_HEADER6 = struct.Struct(">IHBB16s16s")
_ERROR4 = struct.Struct(">BBHHH")
_ERROR6 = struct.Struct(">BBHI")


def too_big(packet: bytes | bytearray | memoryview, mtu: int) -> bytes | None:
    """What a router would answer to a packet that its next hop does not take.

    It comes from where the packet was going: a place whose packets the device is known to bring.

    :param packet: the whole of it, or its first bytes.
    :param mtu: bytes of the longest packet that passes.
    :returns: an IP packet; None if such an answer makes no sense: to an ICMP error, or to a
        fragment that is not the first (RFC 1122, 3.2.2), or one too short to tell.
    """
    return _error(packet, (3, 4, mtu), (2, 0, max(mtu, MIN_MTU6)))


def unreachable(packet: bytes | bytearray | memoryview, codes: tuple[int, int]) -> bytes | None:
    """What is answered to a packet that cannot be delivered; see :func:`too_big`.

    :param codes: :data:`HOST_UNREACHABLE` or :data:`PORT_UNREACHABLE`.
    """
    code, code6 = codes
    return _error(packet, (3, code, 0), (1, code6, 0))


def echo_reply(packet: bytes) -> bytes | None:
    """What a machine answers to an echo request: the same bytes, back.

    Addresses that change places leave every sum as it is; only the type changes it (RFC 1624).

    :returns: an IP packet; None if *packet* is no request, or only a part of one.
    """
    version = packet[0] >> 4
    if version == 4:
        at = (packet[0] & 15) << 2
        whole = not (packet[6] & 0x3F or packet[7])
        request, reply = 8, 0
        is_icmp = at >= IPV4_HEADER and whole and packet[9] == ICMP
        turned = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
    else:
        at, request, reply = IPV6_HEADER, 128, 129
        is_icmp = packet[6] == ICMP6
        turned = packet[:8] + packet[24:40] + packet[8:24] + packet[40:]
    if not is_icmp or len(packet) < at + 8 or packet[at] != request:
        return None
    answer = bytearray(turned)
    answer[at] = reply
    total = (answer[at + 2] << 8 | answer[at + 3]) + (request - reply << 8)
    # Not 0, which would be wrong if all else is zeros; 0xFFFF, its equal, never is.
    struct.pack_into(">H", answer, at + 2, total % 65535 or 0xFFFF)
    return bytes(answer)


def _error(
    packet: bytes | bytearray | memoryview, over4: tuple[int, int, int], over6: tuple[int, int, int]
) -> bytes | None:
    """An error about *packet*: its type, code and the number that some have."""
    if len(packet) < IPV4_HEADER + 8:
        return None
    version = packet[0] >> 4
    if version == 4:
        return _error4(packet, *over4)
    return _error6(packet, *over6) if version == 6 else None


def _error4(
    packet: bytes | bytearray | memoryview, kind: int, code: int, number: int
) -> bytes | None:
    header = (packet[0] & 15) << 2
    if header < IPV4_HEADER or len(packet) < header + 8 or packet[6] & 0x1F or packet[7]:
        return None
    if packet[9] == ICMP and packet[header] not in (0, 8):
        return None
    quoted = bytes(packet[: header + 8])
    message = bytearray(_ERROR4.pack(kind, code, 0, 0, number) + quoted)
    struct.pack_into(">H", message, 2, checksum(message))
    length = IPV4_HEADER + len(message)
    source, destination = quoted[16:20], quoted[12:16]
    answer = bytearray(
        _HEADER4.pack(0x45, 0, length, 0, 0, _HOPS, ICMP, 0, source, destination) + message
    )
    struct.pack_into(">H", answer, 10, checksum(answer[:IPV4_HEADER]))
    return bytes(answer)


def _error6(
    packet: bytes | bytearray | memoryview, kind: int, code: int, number: int
) -> bytes | None:
    if len(packet) < IPV6_HEADER + 8:
        return None
    if packet[6] == ICMP6 and packet[IPV6_HEADER] < 128:  # below are the errors
        return None
    quoted = bytes(packet[:QUOTED6])
    source, destination = quoted[24:40], quoted[8:24]
    message = bytearray(_ERROR6.pack(kind, code, 0, number) + quoted)
    pseudo = source + destination + struct.pack(">II", len(message), ICMP6)
    struct.pack_into(">H", message, 2, checksum(pseudo + message))
    header = _HEADER6.pack(6 << 28, len(message), ICMP6, _HOPS, source, destination)
    return header + bytes(message)
