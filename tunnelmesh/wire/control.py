"""Control messages between two TunnelMesh peers, inside the encrypted session.

The first nibble is 0, where an IP packet has its version, so that a stock WireGuard drops them::

    kind u8 | 0 0 0 | token u64

WireGuard pads plaintexts, so each message knows its own length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tunnelmesh.errors import DecodeError

ECHO_REQUEST = 1
ECHO_REPLY = 2

_ECHO = struct.Struct(">B3xQ")


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


def is_control(plaintext: bytes) -> bool:
    """Whether a plaintext is a control message and not an IP packet."""
    return plaintext[0] >> 4 == 0


def decode(plaintext: bytes) -> Echo | None:
    """Read a control message.

    :returns: the message, or None if its kind is not known.
    :raises DecodeError: if it is cut off.
    """
    if plaintext[0] not in (ECHO_REQUEST, ECHO_REPLY):
        return None
    if len(plaintext) < _ECHO.size:
        raise DecodeError("control message cut off")
    kind, token = _ECHO.unpack_from(plaintext)
    return Echo(kind, token)
