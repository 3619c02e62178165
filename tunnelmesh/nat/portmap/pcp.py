"""Messages of the Port Control Protocol, as much of it as a UDP port needs (RFC 6887).

::

    version u8 = 2 | response bit, opcode u7 | reserved u8 | result u8 | lifetime u32
    then in a request the client's address u128; in a response epoch u32, reserved u96
    MAP: nonce 96 bits | protocol u8, reserved u24 | internal port u16 | external port u16
         | external address u128

Addresses of IPv4 are written as mapped into IPv6.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.endpoint import Endpoint

PORT = 5351
"""Where routers listen, for PCP and for NAT-PMP (RFC 6887 §19.1)."""

VERSION = 2

NONCE = 12
"""Bytes that show a mapping's owner (RFC 6887 §11.1)."""

ANNOUNCE = 0
MAP = 1

_RESPONSE = 0x80
_UDP = 17
_MAX = 1100
"""Bytes of the longest message (RFC 6887 §7)."""

_REQUEST = struct.Struct(">BBHI16s")
_ANSWER = struct.Struct(">BBBBII12x")
_MAP = struct.Struct(">12sB3xHH16s")

RESULTS = {
    2: "does not allow it",
    3: "calls the request malformed",
    4: "cannot map ports",
    5: "does not know an option",
    6: "calls an option malformed",
    7: "has no connection of its own",
    8: "has no port left",
    9: "does not map UDP",
    10: "has given this machine as many ports as it may have",
    11: "cannot give the external port that was asked for",
    12: "sees this machine at another address: there is a NAT in between",
    13: "cannot filter by so many remote peers",
}
"""What a router that refuses says, as the end of a sentence (RFC 6887 §7.4)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response.

    :ivar opcode: of the request that it answers.
    :ivar result: 0 is success; for others see :data:`RESULTS`.
    :ivar lifetime: seconds, of the mapping or of the error.
    :ivar epoch: seconds since the router lost its mappings last.
    :ivar nonce: the owner's; *internal*: the internal port; *external*: what was mapped to it.
        All of them empty, 0 or None unless a mapping was made.
    """

    opcode: int
    result: int
    lifetime: int
    epoch: int
    nonce: bytes = b""
    internal: int = 0
    external: Endpoint | None = None


def announce(client: str) -> bytes:
    """Ask whether somebody speaks PCP, and since when (RFC 6887 §14.1).

    :param client: this machine's own IPv4 address.
    """
    return _REQUEST.pack(VERSION, ANNOUNCE, 0, 0, _mapped(client))


def map_udp(client: str, nonce: bytes, port: int, lifetime: int, wanted: Endpoint) -> bytes:
    """Ask for a mapping of a UDP port, or, with no lifetime, for its end (RFC 6887 §11).

    :param wanted: the external endpoint that would be best; ``0.0.0.0:0`` for any.
    """
    head = _REQUEST.pack(VERSION, MAP, 0, lifetime, _mapped(client))
    return head + _MAP.pack(nonce, _UDP, port, wanted.port, _mapped(wanted.host))


def decode(datagram: bytes) -> Answer:
    """Read a response.

    :raises DecodeError: if it is none, of no version that is known, or makes no sense.
    """
    if not _ANSWER.size <= len(datagram) <= _MAX:
        raise DecodeError(f"PCP response of {len(datagram)} bytes")
    version, opcode, _, result, lifetime, epoch = _ANSWER.unpack_from(datagram)
    if version != VERSION or not opcode & _RESPONSE:
        raise DecodeError("not a response of PCP version 2")
    opcode ^= _RESPONSE
    if opcode != MAP or result:
        return Answer(opcode, result, lifetime, epoch)
    if len(datagram) < _ANSWER.size + _MAP.size:
        raise DecodeError("PCP mapping is cut short")
    nonce, protocol, internal, external, address = _MAP.unpack_from(datagram, _ANSWER.size)
    host = IPv6Address(address).ipv4_mapped
    if protocol != _UDP or host is None:
        raise DecodeError("PCP mapping of something else than UDP over IPv4")
    mapped = Endpoint(str(host), external)
    return Answer(opcode, result, lifetime, epoch, nonce, internal, mapped)


def is_version_refused(datagram: bytes) -> bool:
    """Whether a router that speaks NAT-PMP only says so to a question of PCP (RFC 6887 §9)."""
    return datagram[:1] == b"\0" and datagram[2:4] == b"\0\1"


def _mapped(address: str) -> bytes:
    return bytes(10) + b"\xff\xff" + IPv4Address(address).packed
