"""IPv4 packets with TCP segments and ICMP echoes in them, as bytes (RFC 791, 792 and 9293).

As much as the inner machines of the simulation need: no options, no fragments.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from tunnelmesh.errors import DecodeError
from tunnelmesh.lab.sim.segment import SYN, Segment

#: Protocol numbers (IANA).
ICMP, TCP = 1, 6

#: Lengths of the headers, in bytes.
IP_HEADER, TCP_HEADER, ICMP_HEADER = 20, 20, 8

#: ICMP types.
ECHO_REPLY, ECHO_REQUEST = 0, 8

#: Hops that a packet may take (RFC 1700's default).
TIME_TO_LIVE = 64

#: "Don't fragment".
_DF = 0x4000

#: TCP's option "maximum segment size": its kind and its length.
_MSS = (2, 4)

_IP = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIBBHHH")
_ECHO = struct.Struct("!BBHHH")


class IPPacket(NamedTuple):
    """An IPv4 packet, decoded as far as its payload."""

    source: str
    destination: str
    protocol: int
    payload: bytes


class Echo(NamedTuple):
    """An ICMP echo or the reply to one."""

    kind: int
    identifier: int
    sequence: int
    data: bytes


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); zero over data that has a right one in it."""
    # A sum of 16-bit words with the carries brought back is the number modulo 65535.
    total = int.from_bytes(data if len(data) % 2 == 0 else data + b"\0", "big") % 0xFFFF
    return 0xFFFF - total if total else 0


def encode_ip(packet: IPPacket) -> bytes:
    """The packet's bytes."""
    header = _IP.pack(
        0x45,
        0,
        IP_HEADER + len(packet.payload),
        0,
        _DF,
        TIME_TO_LIVE,
        packet.protocol,
        0,
        socket.inet_aton(packet.source),
        socket.inet_aton(packet.destination),
    )
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + packet.payload


def decode_ip(data: bytes) -> IPPacket:
    """Read a packet.

    :raises DecodeError: if it is not a whole IPv4 packet with a right checksum.
    """
    if len(data) < IP_HEADER or data[0] != 0x45 or checksum(data[:IP_HEADER]):
        raise DecodeError("not an IPv4 packet")
    _, _, length, _, fragment, _, protocol, _, source, destination = _IP.unpack_from(data)
    if not IP_HEADER <= length <= len(data) or fragment & ~_DF:
        raise DecodeError("not a whole IPv4 packet")
    return IPPacket(
        socket.inet_ntoa(source), socket.inet_ntoa(destination), protocol, data[IP_HEADER:length]
    )


def encode_echo(echo: Echo) -> bytes:
    """An echo's or a reply's bytes."""
    body = _ECHO.pack(echo.kind, 0, 0, echo.identifier, echo.sequence) + echo.data
    return body[:2] + checksum(body).to_bytes(2, "big") + body[4:]


def decode_echo(payload: bytes) -> Echo:
    """Read an ICMP message.

    :raises DecodeError: if it is neither an echo nor a reply, or damaged.
    """
    if len(payload) < ICMP_HEADER or checksum(payload):
        raise DecodeError("not an ICMP message")
    kind, code, _, identifier, sequence = _ECHO.unpack_from(payload)
    if kind not in (ECHO_REPLY, ECHO_REQUEST) or code:
        raise DecodeError("not an ICMP echo")
    return Echo(kind, identifier, sequence, payload[ICMP_HEADER:])


def encode_tcp(source: tuple[str, int], destination: tuple[str, int], segment: Segment) -> IPPacket:
    """A segment in a packet, from one address and port to another."""
    options = struct.pack("!BBH", *_MSS, segment.mss) if segment.mss else b""
    body = (
        _TCP.pack(
            source[1],
            destination[1],
            segment.sequence,
            segment.acknowledgement,
            (TCP_HEADER + len(options)) << 2,
            segment.flags,
            min(segment.window, 0xFFFF),
            0,
            0,
        )
        + options
        + segment.data
    )
    total = checksum(_pseudo_header(source[0], destination[0], len(body)) + body)
    payload = body[:16] + total.to_bytes(2, "big") + body[18:]
    return IPPacket(source[0], destination[0], TCP, payload)


def decode_tcp(packet: IPPacket) -> tuple[int, int, Segment]:
    """Read the segment in a packet.

    :returns: source port, destination port, segment.
    :raises DecodeError: if it is not a TCP segment with a right checksum.
    """
    body = packet.payload
    if len(body) < TCP_HEADER or checksum(
        _pseudo_header(packet.source, packet.destination, len(body)) + body
    ):
        raise DecodeError("not a TCP segment")
    source, destination, sequence, acknowledgement, offset, flags, window, _, _ = _TCP.unpack_from(
        body
    )
    start = offset >> 4 << 2
    if not TCP_HEADER <= start <= len(body):
        raise DecodeError("a TCP segment's header does not fit")
    mss = _read_mss(body[TCP_HEADER:start]) if flags & SYN else 0
    segment = Segment(sequence, acknowledgement, flags, window, body[start:], mss)
    return source, destination, segment


def _pseudo_header(source: str, destination: str, length: int) -> bytes:
    return (
        socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!HH", TCP, length)
    )


def _read_mss(options: bytes) -> int:
    """The maximum segment size in a SYN's options; 0 where there is none."""
    while options and options[0] != 0:
        if options[0] == 1:
            options = options[1:]
            continue
        if len(options) < 2 or not 2 <= options[1] <= len(options):
            raise DecodeError("a TCP option does not fit")
        if (options[0], options[1]) == _MSS:
            return int.from_bytes(options[2:4], "big")
        options = options[options[1] :]
    return 0
