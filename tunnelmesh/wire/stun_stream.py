"""STUN over TCP (RFC 8489 §6.2.2): one message after the other, as each tells its own length."""

from __future__ import annotations

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire import stun

MAX_MESSAGE = 548
"""Longest message taken, in bytes: what a datagram may have, too (RFC 8489 §6.1)."""


class StunStream:
    """Cut a byte stream into STUN messages, holding at most one unfinished message."""

    def __init__(self) -> None:
        self._rest = b""

    def receive(self, data: bytes) -> list[bytes]:
        """Take what arrived and return the messages that are whole.

        :raises DecodeError: if it is not STUN, or a message is too long; the stream is lost then.
        """
        data = self._rest + data
        messages = []
        while len(data) >= stun.HEADER:
            size = stun.HEADER + (data[2] << 8 | data[3])
            if data[0] > 3 or data[4:8] != stun.COOKIE or size > MAX_MESSAGE:
                raise DecodeError("not STUN, or too long")
            if size > len(data):
                break
            messages.append(data[:size])
            data = data[size:]
        self._rest = data
        return messages
