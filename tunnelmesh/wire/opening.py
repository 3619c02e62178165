"""What a stream to a port of a peer begins with.

The opener's side of the stream begins with a request, and its data may follow at once; the other
side's begins with an answer::

    1 u8 (version) | port u16
    status u8 | length u8 | text (UTF-8, for people)

With any status but :attr:`Status.OPEN` the stream ends there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from tunnelmesh.errors import DecodeError

VERSION = 1
"""Of the request; one that is not known is answered with :attr:`Status.REFUSED`."""

_REQUEST = struct.Struct(">BH")
_ANSWER = struct.Struct(">BB")

REQUEST_SIZE = _REQUEST.size

LONGEST = 255
"""Bytes of an answer's text."""


class Status(IntEnum):
    """What became of a request."""

    OPEN = 0
    NOBODY_LISTENS = 1
    NOT_ALLOWED = 2
    NOT_EXPOSED = 3
    BUSY = 4
    REFUSED = 5


@dataclass(frozen=True, slots=True)
class Request:
    """Connect me to this TCP port of yours."""

    port: int

    def encode(self) -> bytes:
        """The stream's first bytes."""
        return _REQUEST.pack(VERSION, self.port)

    @classmethod
    def decode(cls, data: bytes | bytearray) -> Request | None:
        """Read a request.

        :returns: None as long as it is not complete.
        :raises DecodeError: if its version is not known, or there is no such port.
        """
        if data and data[0] != VERSION:
            raise DecodeError(f"version {data[0]} of streams is not known here")
        if len(data) < REQUEST_SIZE:
            return None
        _, port = _REQUEST.unpack_from(data)
        if not port:
            raise DecodeError("there is no port 0")
        return cls(port)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request.

    :ivar status: a :class:`Status`, or a number that a later version has given a meaning.
    :ivar text: why, for people. It is the other side's word: see :meth:`shown`.
    """

    status: int
    text: str = ""

    def encode(self) -> bytes:
        """The stream's first bytes."""
        text = self.text.encode()[:LONGEST]
        return _ANSWER.pack(self.status, len(text)) + text

    @classmethod
    def decode(cls, data: bytes | bytearray) -> tuple[Answer, int] | None:
        """Read an answer.

        :returns: the answer and how many bytes it took; None as long as it is not complete.
        """
        if len(data) < _ANSWER.size:
            return None
        status, length = _ANSWER.unpack_from(data)
        end = _ANSWER.size + length
        if len(data) < end:
            return None
        return cls(status, bytes(data[_ANSWER.size : end]).decode("utf-8", "replace")), end

    @property
    def shown(self) -> str:
        """The text without what a terminal might obey."""
        return printable(self.text)


def printable(text: str) -> str:
    """The other side's words, without what a terminal might obey, and no more of them than fit an
    answer."""
    return "".join(each if each.isprintable() else "?" for each in text[:LONGEST])
