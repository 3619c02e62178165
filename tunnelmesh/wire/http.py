"""Heads of HTTP/1.1 requests and answers (RFC 9112), as a proxy reads and passes them on.

Strict: what two programs could read in two ways is refused, never repaired.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address

from tunnelmesh.errors import DecodeError

MAX_HEAD = 1 << 16
"""Longest head taken, in bytes: cookies are long, and web servers take less."""

_END = b"\r\n\r\n"
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST = re.compile(rf"({_TOKEN}) ([!-~]+) HTTP/1\.([01])")
_STATUS = re.compile(r"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t -~\x80-\xff]*))?")
_FIELD = re.compile(rf"({_TOKEN}):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_ABSOLUTE = re.compile(r"http://([^/?#@]*)(/[^?#]*)?(\?[^#]*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._~-]+))(?::([0-9]{1,5}))?")

_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "upgrade"}
"""Fields for the next program only (RFC 9110 §7.6.1). Bodies are passed on as they are framed, and
so is what tells the framing."""

_PROXYS_OWN = {"proxy-authenticate", "proxy-authorization", "proxy-authentication-info"}
_FRAMING = {"content-length", "transfer-encoding", "trailer", "host"}

Fields = tuple[tuple[str, str], ...]


class Collecting:
    """Collects bytes until a head is whole."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def begun(self) -> bool:
        """Whether there is anything of it."""
        return bool(self._data)

    def receive(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take what arrived.

        :returns: the head, without the blank line, and what came after it; None so far.
        :raises DecodeError: if it is too long.
        """
        searched = max(0, len(self._data) - len(_END) + 1)
        self._data += data
        end = self._data.find(_END, searched)
        if end > MAX_HEAD or (end < 0 and len(self._data) > MAX_HEAD):
            raise DecodeError(f"a head of more than {MAX_HEAD} bytes")
        if end < 0:
            return None
        return bytes(self._data[:end]), bytes(self._data[end + len(_END) :])


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request.

    :ivar version: of HTTP/1: 0 or 1.
    """

    method: str
    target: str
    version: int
    fields: Fields

    @classmethod
    def decode(cls, head: bytes) -> Request:
        """Read a head.

        :param head: without the blank line.
        :raises DecodeError: if it is not one.
        """
        first, fields = _decode(head)
        found = _REQUEST.fullmatch(first)
        if found is None:
            raise DecodeError("not an HTTP request")
        return cls(found[1], found[2], int(found[3]), fields)

    def encode(self) -> bytes:
        """The head, with its blank line."""
        return _encode(f"{self.method} {self.target} HTTP/1.{self.version}", self.fields)


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer.

    :ivar words: the status's, for people.
    """

    status: int
    words: str
    version: int
    fields: Fields

    @classmethod
    def decode(cls, head: bytes) -> Answer:
        """Read a head.

        :param head: without the blank line.
        :raises DecodeError: if it is not one.
        """
        first, fields = _decode(head)
        found = _STATUS.fullmatch(first)
        if found is None:
            raise DecodeError("not an HTTP answer")
        return cls(int(found[2]), found[3] or "", int(found[1]), fields)

    def encode(self) -> bytes:
        """The head, with its blank line."""
        return _encode(f"HTTP/1.{self.version} {self.status} {self.words}", self.fields)


def values(fields: Fields, name: str) -> list[str]:
    """The values of all fields of that name (in lower case), in order."""
    return [value for each, value in fields if each.lower() == name]


def end_to_end(fields: Fields) -> Fields:
    """Leave out what is meant for this program, and not for the next one."""
    named = {
        name.strip().lower() for value in values(fields, "connection") for name in value.split(",")
    }
    left_out = (_HOP_BY_HOP | _PROXYS_OWN | named) - _FRAMING
    return tuple((name, value) for name, value in fields if name.lower() not in left_out)


def split_absolute(target: str) -> tuple[str, int, str, str]:
    """Take the target of a request to a proxy apart: ``http://homelab.mesh:8080/path``.

    :returns: the host; the port; both, as the ``Host`` field names them; the target for the server.
    :raises DecodeError: if it is not a URL of that form.
    """
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise DecodeError("not an address that begins with http://")
    host, port = split_authority(found[1], 80)
    return host, port, found[1], (found[2] or "/") + (found[3] or "")


def split_authority(authority: str, default: int | None = None) -> tuple[str, int]:
    """Take ``host:port`` apart; an IPv6 address has brackets there, and none in what is returned.

    :param default: the port if there is none; None if there has to be one.
    :raises DecodeError: if it is not of that form.
    """
    found = _AUTHORITY.fullmatch(authority)
    port = None if found is None else int(found[3]) if found[3] else default
    if found is None or not port or port > 65535:
        raise DecodeError("not a host and a port")
    if found[2]:
        return found[2], port
    try:
        return str(IPv6Address(found[1])), port
    except ValueError:
        raise DecodeError("not an IPv6 address") from None


def _decode(head: bytes) -> tuple[str, Fields]:
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = []
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise DecodeError("a malformed field")
        fields.append((found[1], found[2]))
    return first, tuple(fields)


def _encode(first: str, fields: Iterable[tuple[str, str]]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join(lines).encode("latin-1") + _END
