"""STUN messages (RFC 8489), with what NAT behaviour discovery adds (RFC 5780).

::

    00 | type u14 | length u16 | magic cookie u32 | transaction 96 bits | attributes
    attribute: type u16 | length u16 | value, padded with zeroes to 4 bytes

A message without the cookie comes from a client of the classic protocol (RFC 3489): there the
transaction is 128 bits long, and addresses are never XORed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import IPv6Address

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.endpoint import Endpoint

COOKIE = b"\x21\x12\xa4\x42"
"""The magic cookie (RFC 8489 §5)."""

HEADER = 20
"""Bytes before the attributes."""

TRANSACTION = 12
"""Bytes of a transaction identifier."""

_FINGERPRINT_XOR = 0x5354554E
"""Keeps the CRC apart from that of an application packet (RFC 8489 §14.7)."""

_HEAD = struct.Struct(">HH")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")


class Class(IntEnum):
    """What a message is (RFC 8489 §5)."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


BINDING = 1
"""The only method of STUN itself."""


class Attribute(IntEnum):
    """Attribute types; those below 0x8000 must be understood by whoever reads them."""

    MAPPED_ADDRESS = 0x0001
    CHANGE_REQUEST = 0x0003
    SOURCE_ADDRESS = 0x0004  # RFC 3489's name for RESPONSE-ORIGIN
    CHANGED_ADDRESS = 0x0005  # RFC 3489's name for OTHER-ADDRESS
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    XOR_MAPPED_ADDRESS = 0x0020
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028
    RESPONSE_ORIGIN = 0x802B
    OTHER_ADDRESS = 0x802C


class Change(IntFlag):
    """From where a CHANGE-REQUEST wants its answer (RFC 5780 §7.2)."""

    NOTHING = 0
    PORT = 2
    ADDRESS = 4


@dataclass(frozen=True, slots=True)
class Message:
    """One STUN message.

    :ivar kind: request, indication, success or error.
    :ivar transaction: 12 bytes, or 16 in a classic message.
    :ivar attributes: (type, value) pairs, values without padding, in the order of the wire;
        FINGERPRINT, which :func:`decode` checks and :func:`encode` adds, is not among them.
    :ivar method: 12 bits.
    :ivar fingerprint: the message carries a FINGERPRINT.
    """

    kind: Class
    transaction: bytes
    attributes: tuple[tuple[int, bytes], ...] = ()
    method: int = BINDING
    fingerprint: bool = False

    @property
    def classic(self) -> bool:
        """Whether this is a message of RFC 3489."""
        return len(self.transaction) != TRANSACTION

    def get(self, attribute: int) -> bytes | None:
        """The value of the first *attribute*; later ones do not count (RFC 8489 §14)."""
        for kind, value in self.attributes:
            if kind == attribute:
                return value
        return None

    @property
    def mapped(self) -> Endpoint | None:
        """Where the server saw the request come from.

        :raises DecodeError: if the attribute is malformed, as do the other properties.
        """
        value = self.get(Attribute.XOR_MAPPED_ADDRESS)
        if value is not None:
            return _read_address(_xor(value, self.transaction))
        return self._address(Attribute.MAPPED_ADDRESS)

    @property
    def origin(self) -> Endpoint | None:
        """RESPONSE-ORIGIN: from where the server sent this answer."""
        return self._address(Attribute.RESPONSE_ORIGIN)

    @property
    def other(self) -> Endpoint | None:
        """OTHER-ADDRESS: the server's other address and port, if it has two of each."""
        return self._address(Attribute.OTHER_ADDRESS)

    @property
    def change(self) -> Change:
        """CHANGE-REQUEST's flags."""
        value = self.get(Attribute.CHANGE_REQUEST)
        if value is None:
            return Change.NOTHING
        if len(value) != 4:
            raise DecodeError("STUN CHANGE-REQUEST is not 4 bytes")
        return Change(value[3] & 6)

    @property
    def error(self) -> tuple[int, str] | None:
        """ERROR-CODE: a number from 300 to 699, and a reason for people."""
        value = self.get(Attribute.ERROR_CODE)
        if value is None:
            return None
        if len(value) < 4 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
            raise DecodeError("STUN ERROR-CODE is malformed")
        return (value[2] & 7) * 100 + value[3], value[4:].decode("utf-8", "replace")

    @property
    def unknown(self) -> tuple[int, ...]:
        """UNKNOWN-ATTRIBUTES: what the other end did not understand."""
        value = self.get(Attribute.UNKNOWN_ATTRIBUTES) or b""
        if len(value) % 2:
            raise DecodeError("STUN UNKNOWN-ATTRIBUTES has an odd length")
        return tuple(number for (number,) in _U16.iter_unpack(value))

    @property
    def software(self) -> str | None:
        """SOFTWARE: what the other end says it is."""
        value = self.get(Attribute.SOFTWARE)
        return None if value is None else value.decode("utf-8", "replace")

    def _address(self, attribute: int) -> Endpoint | None:
        value = self.get(attribute)
        return None if value is None else _read_address(value)


def is_stun(datagram: bytes) -> bool:
    """Whether *datagram* is meant to be STUN, by its first byte, cookie and length (RFC 7983 §7).

    WireGuard's messages, whose first byte may be as small, have zeroes where STUN's length is.
    """
    return (
        len(datagram) >= HEADER
        and datagram[0] < 4
        and datagram[4:8] == COOKIE
        and (datagram[2] << 8 | datagram[3]) == len(datagram) - HEADER
    )


def encode(message: Message) -> bytes:
    """The bytes of *message*, with a FINGERPRINT if it says so."""
    body = b"".join(
        [
            part
            for kind, value in message.attributes
            for part in (_HEAD.pack(kind, len(value)), value, bytes(-len(value) % 4))
        ]
    )
    length = len(body) + (8 if message.fingerprint else 0)
    cookie = b"" if message.classic else COOKIE
    head = _HEAD.pack(_type(message.kind, message.method), length)
    datagram = head + cookie + message.transaction + body
    if message.fingerprint:
        datagram += _HEAD.pack(Attribute.FINGERPRINT, 4) + _U32.pack(_crc(datagram))
    return datagram


def decode(datagram: bytes) -> Message:
    """Take *datagram* apart; a FINGERPRINT, if it has one, is checked.

    :raises DecodeError: if it is not one whole STUN message.
    """
    attributes = []
    fingerprint = False
    for kind, at, end in walk(datagram):
        if fingerprint:
            raise DecodeError("STUN attribute follows the FINGERPRINT")
        if kind == Attribute.FINGERPRINT:
            if datagram[at + 4 : end] != _U32.pack(_crc(datagram[:at])):
                raise DecodeError("STUN FINGERPRINT is wrong")
            fingerprint = True
        else:
            attributes.append((kind, datagram[at + 4 : end]))
    number = _U16.unpack_from(datagram)[0]
    return Message(
        kind=Class((number >> 7 & 2) | (number >> 4 & 1)),
        method=(number & 0xF) | (number >> 1 & 0x70) | (number >> 2 & 0xF80),
        transaction=datagram[8:HEADER] if datagram[4:8] == COOKIE else datagram[4:HEADER],
        attributes=tuple(attributes),
        fingerprint=fingerprint,
    )


def address(attribute: int, endpoint: Endpoint) -> tuple[int, bytes]:
    """A MAPPED-ADDRESS, or another attribute of the same form."""
    if ":" in endpoint.host:
        return attribute, b"\0\2" + _U16.pack(endpoint.port) + IPv6Address(endpoint.host).packed
    return attribute, b"\0\1" + _U16.pack(endpoint.port) + bytes(map(int, endpoint.host.split(".")))


def xor_mapped_address(endpoint: Endpoint, transaction: bytes) -> tuple[int, bytes]:
    """An XOR-MAPPED-ADDRESS (RFC 8489 §14.2)."""
    value = address(Attribute.XOR_MAPPED_ADDRESS, endpoint)[1]
    return Attribute.XOR_MAPPED_ADDRESS, _xor(value, transaction)


def change_request(change: Change) -> tuple[int, bytes]:
    """A CHANGE-REQUEST (RFC 5780 §7.2)."""
    return Attribute.CHANGE_REQUEST, _U32.pack(change)


def error_code(code: int, reason: str) -> tuple[int, bytes]:
    """An ERROR-CODE (RFC 8489 §14.8)."""
    return Attribute.ERROR_CODE, bytes((0, 0, code // 100, code % 100)) + reason.encode()


def unknown_attributes(attributes: Iterable[int]) -> tuple[int, bytes]:
    """An UNKNOWN-ATTRIBUTES (RFC 8489 §14.9)."""
    return Attribute.UNKNOWN_ATTRIBUTES, b"".join(map(_U16.pack, attributes))


def walk(datagram: bytes) -> Iterator[tuple[int, int, int]]:
    """Each attribute's type, where it starts, and where its value ends.

    :raises DecodeError: if *datagram* is not one whole STUN message.
    """
    if len(datagram) < HEADER or datagram[0] >= 0x40:
        raise DecodeError("not a STUN message")
    length = _U16.unpack_from(datagram, 2)[0]
    if length % 4 or length != len(datagram) - HEADER:
        raise DecodeError("STUN message's length is not the datagram's")
    at = HEADER
    while at < len(datagram):
        kind, size = _HEAD.unpack_from(datagram, at)
        end = at + 4 + size
        if end > len(datagram):
            raise DecodeError("STUN attribute runs over the message's end")
        yield kind, at, end
        at = end + (-size % 4)


def _type(kind: Class, method: int) -> int:
    """The class's two bits lie between the method's (RFC 8489 §5, figure 3)."""
    spread = (method & 0xF) | (method & 0x70) << 1 | (method & 0xF80) << 2
    return spread | (kind & 1) << 4 | (kind & 2) << 7


def _crc(datagram: bytes) -> int:
    return zlib.crc32(datagram) ^ _FINGERPRINT_XOR


def _xor(value: bytes, transaction: bytes) -> bytes:
    """An address attribute's value, XORed with the cookie and the transaction, or back."""
    mask = b"\0\0" + COOKIE[:2] + COOKIE + transaction
    size = min(len(value), len(mask))
    plain = int.from_bytes(value[:size]) ^ int.from_bytes(mask[:size])
    return plain.to_bytes(size) + value[size:]


def _read_address(value: bytes) -> Endpoint:
    if len(value) == 8 and value[1] == 1:
        return Endpoint(".".join(map(str, value[4:])), _U16.unpack_from(value, 2)[0])
    if len(value) == 20 and value[1] == 2:
        return Endpoint(str(IPv6Address(value[4:])), _U16.unpack_from(value, 2)[0])
    raise DecodeError("STUN address is neither IPv4 nor IPv6")
