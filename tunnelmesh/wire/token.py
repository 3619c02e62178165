"""The invitation: one string that tells a machine everything it needs to join.

``tm1:`` and the base64url form, without padding, of::

    flags u8 | https port u16 | ssh port u16 | expires u32 | key 32 | secret 16 | host | crc32 u32

all big-endian; the host is ASCII and takes what room is left. The CRC is there to tell a token that
was mistyped or cut off from one that the coordinator does not know.
"""

from __future__ import annotations

import re
import struct
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from ipaddress import ip_address
from zlib import crc32

from tunnelmesh.errors import TokenError

PREFIX = "tm1:"
"""What every token of this version begins with."""

MAX_LENGTH = 512
"""Longest text looked at: the longest host name, 253 bytes, takes 430 characters."""

_FIXED = struct.Struct(">BHHI32s16s")
_CRC = struct.Struct(">I")
_TLS_BY_NAME = 1

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\Z")
_BASE64 = re.compile(r"[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True, slots=True)
class Token:
    """An invitation.

    :ivar host: the coordinator's name or IP address.
    :ivar https_port: its TCP port for TLS.
    :ivar ssh_port: its TCP port for SSH.
    :ivar tls_by_name: True if its certificate is an ordinary one, to be verified by its name;
        False if it is self-signed, to be recognised by the key.
    :ivar key: its Ed25519 public key (32 bytes), to be pinned.
    :ivar secret: what lets the bearer in (16 bytes).
    :ivar expires: Unix time, in whole seconds, after which the coordinator refuses it.
    """

    host: str
    https_port: int
    ssh_port: int
    tls_by_name: bool
    key: bytes
    secret: bytes = field(repr=False)
    expires: int

    def encode(self) -> str:
        """The token as text.

        :raises TokenError: if the host is not a name or an address.
        """
        _check_host(self.host)
        body = (
            _FIXED.pack(
                _TLS_BY_NAME if self.tls_by_name else 0,
                self.https_port,
                self.ssh_port,
                self.expires,
                self.key,
                self.secret,
            )
            + self.host.encode()
        )
        return PREFIX + urlsafe_b64encode(body + _CRC.pack(crc32(body))).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Token:
        """Read a token; blanks and line breaks from copying are forgiven.

        :raises TokenError: if it is not a token, or not a whole one; the message says which.
        """
        text = "".join(text[: 2 * MAX_LENGTH].split())
        if re.match(r"tm[2-9][0-9]*:", text):
            raise TokenError("the token was made by a newer TunnelMesh: update it on this machine")
        if not text.startswith(PREFIX):
            raise TokenError(
                f"that is not a token: one begins with {PREFIX} and is printed by"
                " 'tunnelmesh invite' on the coordinator"
            )
        body = _checked(text[len(PREFIX) :])
        flags, https_port, ssh_port, expires, key, secret = _FIXED.unpack_from(body)
        try:
            host = body[_FIXED.size :].decode("ascii")
        except UnicodeDecodeError:
            raise TokenError("the token names no usable host: ask for a new one") from None
        _check_host(host)
        return cls(host, https_port, ssh_port, bool(flags & _TLS_BY_NAME), key, secret, expires)


def _checked(text: str) -> bytes:
    """Undo base64 and check the CRC."""
    mistyped = TokenError("the token was mistyped or cut off: copy it again, all of it")
    if len(text) > MAX_LENGTH or not _BASE64.match(text):
        raise mistyped
    try:
        data = b64decode(text + "=" * (-len(text) % 4), altchars=b"-_")
    except Base64Error:
        raise mistyped from None
    body = data[: -_CRC.size]
    if len(body) <= _FIXED.size or data[-_CRC.size :] != _CRC.pack(crc32(body)):
        raise mistyped
    return body


def _check_host(host: str) -> None:
    if _NAME.match(host):
        return
    try:
        if not ip_address(host).is_link_local:
            return
    except ValueError:
        pass
    raise TokenError(f"{host[:80]!r} is neither a host name nor an address to be reached at")
