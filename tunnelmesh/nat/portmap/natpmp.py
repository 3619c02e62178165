"""Messages of NAT-PMP (RFC 6886).

::

    address request: version u8 = 0 | opcode u8 = 0
    address answer:  version u8 = 0 | 128 | result u16 | epoch u32 | external address u32
    map request:     version u8 = 0 | opcode u8 = 1 (UDP) | reserved u16
                     | internal port u16 | external port u16 | lifetime u32
    map answer:      version u8 = 0 | 129 | result u16 | epoch u32
                     | internal port u16 | external port u16 | lifetime u32
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from tunnelmesh.errors import DecodeError

ADDRESS_REQUEST = bytes(2)
"""Asks for the router's external address; it changes nothing (RFC 6886 §3.2)."""

ADDRESS = 128
MAPPED = 129
"""The opcodes of answers that are read."""

RESULTS = {
    2: "does not allow it",
    3: "has no connection of its own",
    4: "has no port left",
    5: "cannot map UDP ports",
}
"""What a router that refuses says, as the end of a sentence (RFC 6886 §3.5)."""

_HEAD = struct.Struct(">BBHI")
_MAP = struct.Struct(">BBHHHI")
_PORTS = struct.Struct(">HHI")


@dataclass(frozen=True, slots=True)
class Address:
    """The answer to :data:`ADDRESS_REQUEST`, which is also announced unasked.

    :ivar epoch: seconds since the router lost its mappings last.
    :ivar host: the external address; meaningless unless *result* is 0.
    """

    result: int
    epoch: int
    host: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """The answer to :func:`map_udp`. The last three mean nothing unless *result* is 0."""

    result: int
    epoch: int
    internal: int
    external: int
    lifetime: int


def map_udp(port: int, lifetime: int, wanted: int) -> bytes:
    """Ask for a mapping of a UDP port, or, with no lifetime, for its end (RFC 6886 §3.3).

    :param wanted: the external port that would be best.
    """
    return _MAP.pack(0, 1, 0, port, wanted, lifetime)


def decode(datagram: bytes) -> Address | Mapped:
    """Read an answer.

    :raises DecodeError: if it is none, or cut short where it says that all went well.
    """
    if len(datagram) < _HEAD.size:
        raise DecodeError(f"NAT-PMP answer of {len(datagram)} bytes")
    version, opcode, result, epoch = _HEAD.unpack_from(datagram)
    rest = datagram[_HEAD.size :]
    if version != 0 or opcode not in (ADDRESS, MAPPED):
        raise DecodeError("not an answer of NAT-PMP")
    if opcode == ADDRESS:
        if len(rest) < 4 and not result:
            raise DecodeError("NAT-PMP address is cut short")
        return Address(result, epoch, str(IPv4Address(rest[:4].ljust(4, b"\0"))))
    if len(rest) < _PORTS.size and not result:
        raise DecodeError("NAT-PMP mapping is cut short")
    return Mapped(result, epoch, *_PORTS.unpack(rest[: _PORTS.size].ljust(_PORTS.size, b"\0")))
