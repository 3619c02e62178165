"""The messages of the WireGuard protocol: bytes to frozen dataclasses and back.

Source: Donenfeld, *WireGuard: Next Generation Kernel Network Tunnel*, §5.4. Integers are
little-endian. An index is kept as the four bytes that it is on the wire: whoever chose it is the
only one to give it a meaning, and it is looked up, never counted with.

Handshake messages end in two MACs, which cover the bytes before them; they are put on and checked
by :mod:`tunnelmesh.noise.cookie`, so here they are only fields.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from tunnelmesh.errors import DecodeError

INITIATION: Final = b"\x01\0\0\0"
"""Type of the first handshake message, with its three reserved bytes."""

RESPONSE: Final = b"\x02\0\0\0"
"""Type of the second handshake message."""

COOKIE_REPLY: Final = b"\x03\0\0\0"
"""Type of the answer of somebody under load."""

TRANSPORT: Final = b"\x04\0\0\0"
"""Type of everything that a session carries."""

INITIATION_SIZE: Final = 148
RESPONSE_SIZE: Final = 92
COOKIE_REPLY_SIZE: Final = 64

TYPE_SIZE: Final = 4
INDEX_SIZE: Final = 4
TAG_SIZE: Final = 16
MAC_SIZE: Final = 16
NO_MAC: Final = bytes(MAC_SIZE)

TRANSPORT_HEADER_SIZE: Final = 16
"""Type, receiver's index and counter, before a transport message's sealed packet."""

TRANSPORT_OVERHEAD: Final = TRANSPORT_HEADER_SIZE + TAG_SIZE
"""Bytes by which a transport message is longer than the padded packet in it."""

_INITIATION = struct.Struct("<4s4s32s48s28s16s16s")
_RESPONSE = struct.Struct("<4s4s4s32s16s16s16s")
_COOKIE_REPLY = struct.Struct("<4s4s24s32s")


@dataclass(frozen=True, slots=True)
class Initiation:
    """The first handshake message (§5.4.2).

    :ivar sender: the initiator's index (4 bytes).
    :ivar ephemeral: its ephemeral public key (32 bytes).
    :ivar static: its sealed static public key (48 bytes).
    :ivar timestamp: its sealed TAI64N clock (28 bytes).
    :ivar mac1: (16 bytes) proves that the sender knows whom it talks to.
    :ivar mac2: (16 bytes) proves that the sender owns its address; zeros without a cookie.
    """

    sender: bytes
    ephemeral: bytes
    static: bytes
    timestamp: bytes
    mac1: bytes = NO_MAC
    mac2: bytes = NO_MAC

    def encode(self) -> bytes:
        """The message as a datagram of :data:`INITIATION_SIZE` bytes."""
        return _INITIATION.pack(
            INITIATION,
            self.sender,
            self.ephemeral,
            self.static,
            self.timestamp,
            self.mac1,
            self.mac2,
        )

    @classmethod
    def decode(cls, datagram: bytes) -> Initiation:
        """Read a datagram.

        :raises DecodeError: if it has another size or type.
        """
        _expect(datagram, INITIATION, INITIATION_SIZE)
        return cls(*_INITIATION.unpack(datagram)[1:])


@dataclass(frozen=True, slots=True)
class Response:
    """The second handshake message (§5.4.3).

    :ivar sender: the responder's index (4 bytes).
    :ivar receiver: the initiator's index (4 bytes).
    :ivar ephemeral: the responder's ephemeral public key (32 bytes).
    :ivar empty: nothing, sealed (16 bytes).
    :ivar mac1: as in :class:`Initiation`.
    :ivar mac2: as in :class:`Initiation`.
    """

    sender: bytes
    receiver: bytes
    ephemeral: bytes
    empty: bytes
    mac1: bytes = NO_MAC
    mac2: bytes = NO_MAC

    def encode(self) -> bytes:
        """The message as a datagram of :data:`RESPONSE_SIZE` bytes."""
        return _RESPONSE.pack(
            RESPONSE,
            self.sender,
            self.receiver,
            self.ephemeral,
            self.empty,
            self.mac1,
            self.mac2,
        )

    @classmethod
    def decode(cls, datagram: bytes) -> Response:
        """Read a datagram.

        :raises DecodeError: if it has another size or type.
        """
        _expect(datagram, RESPONSE, RESPONSE_SIZE)
        return cls(*_RESPONSE.unpack(datagram)[1:])


@dataclass(frozen=True, slots=True)
class CookieReply:
    """What somebody under load sends instead of an answer (§5.4.7).

    :ivar receiver: the index of the sender of the handshake message that it answers (4 bytes).
    :ivar nonce: random (24 bytes).
    :ivar cookie: the sealed cookie (32 bytes).
    """

    receiver: bytes
    nonce: bytes
    cookie: bytes

    def encode(self) -> bytes:
        """The message as a datagram of :data:`COOKIE_REPLY_SIZE` bytes."""
        return _COOKIE_REPLY.pack(COOKIE_REPLY, self.receiver, self.nonce, self.cookie)

    @classmethod
    def decode(cls, datagram: bytes) -> CookieReply:
        """Read a datagram.

        :raises DecodeError: if it has another size or type.
        """
        _expect(datagram, COOKIE_REPLY, COOKIE_REPLY_SIZE)
        return cls(*_COOKIE_REPLY.unpack(datagram)[1:])


def transport_header(receiver: bytes, counter: int) -> bytes:
    """The 16 bytes before a sealed packet (§5.4.6).

    :param receiver: the index that the receiver of the message chose (4 bytes).
    :param counter: how many messages this session's sender sealed before this one.
    """
    return TRANSPORT + receiver + counter.to_bytes(8, "little")


def decode_transport_header(datagram: bytes) -> tuple[bytes, int]:
    """Read the receiver's index and the counter of a transport message.

    :raises DecodeError: if it is shorter than a sealed nothing, or of another type.
    """
    if len(datagram) < TRANSPORT_OVERHEAD or datagram[:TYPE_SIZE] != TRANSPORT:
        raise DecodeError("not a transport message")
    return datagram[4:8], int.from_bytes(datagram[8:TRANSPORT_HEADER_SIZE], "little")


def _expect(datagram: bytes, type_: bytes, size: int) -> None:
    if len(datagram) != size or datagram[:TYPE_SIZE] != type_:
        raise DecodeError(f"not a WireGuard message of type {type_[0]}")
