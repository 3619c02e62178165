"""Where the body of an HTTP/1.1 request ends (RFC 9112 §6 and §7).

A proxy that passes bodies on as they come has to know, or the next request would go to the same
server as this one.
"""

from __future__ import annotations

import re
from typing import Protocol

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.http import Request, values

MAX_LINE = 4096
"""Longest line between chunks, in bytes: a chunk's size with its extensions, or a trailer."""

MAX_TRAILERS = 64
"""Lines after the last chunk."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t -~\x80-\xff]*)?")


class Body(Protocol):
    """A body that is passed on as it comes.

    :ivar done: whether it has ended.
    """

    done: bool

    def receive(self, data: bytes) -> bytes:
        """Take what arrived.

        :returns: what of it belongs to the body.
        :raises DecodeError: if it is malformed.
        """


class Measured:
    """A body of a length that is known, maybe 0."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def receive(self, data: bytes) -> bytes:
        """See :class:`Body`."""
        taken = data[: self._left]
        self._left -= len(taken)
        self.done = self._left == 0
        return taken


class Chunked:
    """A body in chunks, passed on in its chunks."""

    def __init__(self) -> None:
        self.done = False
        self._left = 0  # of a chunk
        self._line = b""  # what is there of a line
        self._trailers: int | None = None  # lines seen after the last chunk
        self._after_chunk = False

    def receive(self, data: bytes) -> bytes:
        """See :class:`Body`."""
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line += data[at:end]
            at = end
            if len(self._line) > MAX_LINE:
                raise DecodeError("a line between chunks is too long")
            if self._line.endswith(b"\n"):
                line, self._line = self._line, b""
                if not line.endswith(b"\r\n"):
                    raise DecodeError("a line between chunks ends with LF alone")
                self._line_received(line[:-2])
        return data[:at]

    def _line_received(self, line: bytes) -> None:
        if self._trailers is not None:
            self._trailers += 1
            self.done = not line
            if self._trailers > MAX_TRAILERS:
                raise DecodeError("too many trailers")
        elif self._after_chunk:
            self._after_chunk = False
            if line:
                raise DecodeError("a chunk is longer than it says")
        else:
            found = _SIZE.fullmatch(line)
            if found is None:
                raise DecodeError("a chunk without a size")
            self._left = int(found[1], 16)
            self._after_chunk = self._left > 0
            self._trailers = None if self._left else 0


def body_of(request: Request) -> Body:
    """The body that follows a request's head.

    :raises DecodeError: if two programs could disagree on where it ends (RFC 9112 §6.3).
    """
    lengths = values(request.fields, "content-length")
    codings = [value.lower() for value in values(request.fields, "transfer-encoding")]
    if not codings and not lengths:
        return Measured(0)
    if codings == ["chunked"] and not lengths and request.version == 1:
        return Chunked()
    if codings or len(lengths) > 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        raise DecodeError("a body whose end is not clear")
    return Measured(int(lengths[0]))
