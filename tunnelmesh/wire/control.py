"""Control messages between two TunnelMesh peers, inside the encrypted session.

The first nibble is 0, where an IP packet has its version, so that a stock WireGuard drops them::

    1 or 2 u8 | 0 0 0 | token u64                              Echo
    3 u8 | version u8 | ciphers u8 | asks u8                   Abilities
    4 u8 | 0 0 0 | sealed u64 | opened u64                     Arrivals
    5 u8 | by the opener u8 | length u16 | datagram            Stream

WireGuard pads plaintexts, so each message knows its own length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tunnelmesh.errors import DecodeError

ECHO_REQUEST = 1
ECHO_REPLY = 2
ABILITIES = 3
ARRIVALS = 4
STREAM = 5

RECORD_VERSION = 2
"""Of :mod:`tunnelmesh.wire.record`; 0 for a peer that takes no records. What version 1 was, whose
whole records were not in one piece, nobody speaks any more: such a peer gets packets."""

_ECHO = struct.Struct(">B3xQ")
_ABILITIES = struct.Struct(">BBB?")
_ARRIVALS = struct.Struct(">B3xQQ")
_STREAM = struct.Struct(">B?H")

STREAM_HEADER_SIZE = _STREAM.size
"""Bytes by which the message of a stream is longer than the datagram in it."""


@dataclass(frozen=True, slots=True)
class Echo:
    """Are you there? Or: I am.

    :ivar kind: :data:`ECHO_REQUEST` or :data:`ECHO_REPLY`.
    :ivar token: chosen by who asks.
    """

    kind: int
    token: int

    def encode(self) -> bytes:
        """The plaintext to seal."""
        return _ECHO.pack(self.kind, self.token)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What I can open, and what I am quick at.

    :ivar version: of records; the lower one of both sides' is used.
    :ivar ciphers: for each cipher that this machine has instructions for, the bit of its number.
    :ivar asks: whether the other side is to tell its own.
    """

    version: int
    ciphers: int
    asks: bool

    def encode(self) -> bytes:
        """The plaintext to seal."""
        return _ABILITIES.pack(ABILITIES, self.version, self.ciphers, self.asks)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """How much of what you sent by the session in use has arrived.

    :ivar sealed: messages that the other side has sealed, as far as this side knows.
    :ivar opened: messages of these that were opened.
    """

    sealed: int
    opened: int

    def encode(self) -> bytes:
        """The plaintext to seal."""
        return _ARRIVALS.pack(ARRIVALS, self.sealed, self.opened)


@dataclass(frozen=True, slots=True)
class Stream:
    """A QUIC datagram (RFC 9000): streams between two peers, whether they have a device or not.

    Each side may open one QUIC connection to the other.

    :ivar by_opener: whether the sender is the one that opened the connection, QUIC's client.
    """

    by_opener: bool
    datagram: bytes

    def encode(self) -> bytes:
        """The plaintext to seal."""
        return _STREAM.pack(STREAM, self.by_opener, len(self.datagram)) + self.datagram


Control = Echo | Abilities | Arrivals | Stream


def is_control(plaintext: bytes) -> bool:
    """Whether a plaintext is a control message and not an IP packet."""
    return plaintext[0] >> 4 == 0


def decode(plaintext: bytes) -> Control | None:
    """Read a control message.

    :returns: the message, or None if its kind is not known.
    :raises DecodeError: if it is cut off.
    """
    try:
        match plaintext[0]:
            case 1 | 2:
                return Echo(*_ECHO.unpack_from(plaintext))
            case 3:
                return Abilities(*_ABILITIES.unpack_from(plaintext)[1:])
            case 4:
                return Arrivals(*_ARRIVALS.unpack_from(plaintext)[1:])
            case 5:
                _, by_opener, length = _STREAM.unpack_from(plaintext)
                datagram = plaintext[_STREAM.size : _STREAM.size + length]
                if len(datagram) == length:
                    return Stream(by_opener, datagram)
                raise DecodeError("control message cut off")
    except struct.error:
        raise DecodeError("control message cut off") from None
    return None
