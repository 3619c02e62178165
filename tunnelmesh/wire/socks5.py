"""SOCKS version 5 (RFC 1928): the server's side of what is said before the data.

::

    client: 5 | count u8 | methods                          server: 5 | method
    client: 5 | command | 0 | type | address | port u16     server: 5 | reply | 0 | 1 | 0.0.0.0 | 0

An address is an IPv4 one (type 1), an IPv6 one (type 4), or a name (type 3: length u8, bytes).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from tunnelmesh.errors import DecodeError

VERSION = 5
NO_AUTHENTICATION = 0
NO_METHOD = 0xFF
CONNECT = 1

IPV4, NAME, IPV6 = 1, 3, 4


class Reply(IntEnum):
    """How a request went (RFC 1928 §6)."""

    SUCCEEDED = 0
    FAILED = 1
    NOT_ALLOWED = 2
    HOST_UNREACHABLE = 4
    REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_NOT_SUPPORTED = 8

    def encode(self) -> bytes:
        """The whole reply. The address that it has room for means nothing to CONNECT's clients."""
        return bytes((VERSION, self, 0, IPV4, *bytes(6)))


class RefusalError(DecodeError):
    """What the client says makes sense, and is not done here.

    :ivar answer: what it is told.
    """

    def __init__(self, message: str, answer: bytes) -> None:
        super().__init__(message)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Request:
    """Where a client wants to be connected to.

    :ivar host: a name, or an IP address in its text form.
    """

    host: str
    port: int


class Negotiation:
    """What passes until the client has said where it wants to be connected to.

    :ivar request: that, once it is known.
    :ivar rest: the bytes that came after it: the first ones for whom it is connected to.
    """

    def __init__(self) -> None:
        self.request: Request | None = None
        self.rest = b""
        self._greeted = False

    def receive(self, data: bytes) -> bytes:
        """Take what arrived; held back is at most an unfinished message of 262 bytes.

        :returns: what to answer now; empty while there is nothing to say.
        :raises RefusalError: if the client wants what is not done here.
        :raises DecodeError: if it does not speak SOCKS5.
        """
        self.rest += data
        answer = b""
        if not self._greeted:
            answer = self._greet()
        if self._greeted and self.request is None:
            try:
                self._ask()
            except RefusalError as refusal:
                raise RefusalError(str(refusal), answer + refusal.answer) from None
        return answer

    def _greet(self) -> bytes:
        data = self.rest
        _check_version(data)
        if len(data) < 2 or len(data) < 2 + data[1]:
            return b""
        end = 2 + data[1]
        if NO_AUTHENTICATION not in data[2:end]:
            answer = bytes((VERSION, NO_METHOD))
            raise RefusalError("the client insists on signing in", answer)
        self.rest = data[end:]
        self._greeted = True
        return bytes((VERSION, NO_AUTHENTICATION))

    def _ask(self) -> None:
        data = self.rest
        _check_version(data)
        if len(data) < 5:
            return
        kind = data[3]
        if kind not in (IPV4, NAME, IPV6):
            reply = Reply.ADDRESS_NOT_SUPPORTED
            raise RefusalError(f"no address is of type {kind}", reply.encode())
        start = 5 if kind == NAME else 4
        end = start + {IPV4: 4, NAME: data[4], IPV6: 16}[kind]
        if len(data) < end + 2:
            return
        if data[1] != CONNECT:
            reply = Reply.COMMAND_NOT_SUPPORTED
            raise RefusalError(f"only CONNECT is done, not command {data[1]}", reply.encode())
        host = _text(kind, data[start:end])
        self.request = Request(host, int.from_bytes(data[end : end + 2], "big"))
        self.rest = data[end + 2 :]


def _check_version(data: bytes) -> None:
    if data and data[0] != VERSION:
        raise DecodeError(f"not SOCKS5: it begins with byte {data[0]}")


def _text(kind: int, address: bytes) -> str:
    if kind == IPV4:
        return str(IPv4Address(address))
    if kind == IPV6:
        return str(IPv6Address(address))
    text = address.decode("ascii", "replace")
    if not text or not text.isascii() or not text.isprintable():
        raise DecodeError("the name is empty, or not one")
    return text
