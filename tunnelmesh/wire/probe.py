"""Probes: does this path carry datagrams, how large, and how fast?

A probe is sealed under a key that the two static X25519 keys agree on, so it works before and
between sessions, and a stranger can neither make one nor get an answer to one::

    "TM" | version u8 | 0 | hint 8 | nonce 12 | AEAD( kind u8 | token u64 | address | padding )

The first byte is above 0x3f, which tells a probe from STUN and from WireGuard (RFC 7983). The hint
names the pair and the direction to who knows them and is random to anybody else; as it differs by
direction, a probe that is reflected means nothing to its sender.

A pong repeats its ping's token and size, and tells the address the ping came from. A replayed ping
earns one pong of its own size and, from a new endpoint, one bounded attempt at punching there; a
path counts only when a pong answers a token that is still awaited on it.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2s

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tunnelmesh.errors import DecodeError, IdentityError
from tunnelmesh.wire.endpoint import Endpoint

PING = 1
PONG = 2

MAGIC = b"TM\x01\x00"
"""Two letters, the version, and a byte kept for later."""

HINT_SIZE = 8
"""Bytes: with a thousand peers a stranger's datagram meets some hint once in 2^54."""

_NONCE_SIZE = 12
_HEADER = len(MAGIC) + HINT_SIZE + _NONCE_SIZE
_TAG = 16
_BODY = struct.Struct(">BQB16sH")
MIN_SIZE = _HEADER + _BODY.size + _TAG
"""Bytes of the smallest probe."""

_NO_ADDRESS = bytes(16)


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe as its receiver sees it.

    :ivar kind: :data:`PING` or :data:`PONG`.
    :ivar token: chosen by the pinging side.
    :ivar observed: in a pong, where the ping came from; None over a relay.
    :ivar size: of the whole datagram, in bytes.
    """

    kind: int
    token: int
    observed: Endpoint | None
    size: int


def is_probe(datagram: bytes) -> bool:
    """Whether a datagram claims to be a probe of this version."""
    return datagram[:4] == MAGIC


def hint_of(datagram: bytes) -> bytes:
    """The hint, by which to find the :class:`ProbeSeal` that opens it."""
    return datagram[4 : 4 + HINT_SIZE]


class ProbeSeal:
    """Seals probes to one remote peer and opens its own.

    Random 96-bit nonces are safe for about 2^32 probes under one key (NIST SP 800-38D §8.3 reasons
    so for a nonce of this length); at four a second that is 34 years.

    :param private_key: one's own X25519 key, 32 bytes.
    :param public_key: the remote peer's, 32 bytes.
    :raises IdentityError: if the remote key is one of X25519's low-order points.
    """

    def __init__(
        self, private_key: bytes, public_key: bytes, entropy: Callable[[int], bytes]
    ) -> None:
        own = X25519PrivateKey.from_private_bytes(private_key)
        try:
            shared = own.exchange(X25519PublicKey.from_public_bytes(public_key))
        except ValueError:
            raise IdentityError("the remote peer's key is not a usable X25519 key") from None
        self._aead = ChaCha20Poly1305(blake2s(b"tunnelmesh probe key", key=shared).digest())
        self._entropy = entropy

        def hint(sender: bytes) -> bytes:
            context = b"tunnelmesh probe hint" + sender
            return blake2s(context, key=shared, digest_size=HINT_SIZE).digest()

        self.own_hint = hint(own.public_key().public_bytes_raw())
        """The hint in one's own probes."""
        self._prefix = MAGIC + self.own_hint
        self.hint = hint(public_key)
        """The hint in probes from the remote peer."""

    def seal(self, kind: int, token: int, size: int, observed: Endpoint | None = None) -> bytes:
        """Make a probe of *size* bytes in all, or :data:`MIN_SIZE` if that is more."""
        family, address, port = 0, _NO_ADDRESS, 0
        if observed is not None:
            packed = ipaddress.ip_address(observed.host).packed
            family, address, port = len(packed), packed.ljust(16, b"\0"), observed.port
        body = _BODY.pack(kind, token, family, address, port)
        nonce = self._entropy(_NONCE_SIZE)
        sealed = self._aead.encrypt(nonce, body + bytes(max(0, size - MIN_SIZE)), self._prefix)
        return self._prefix + nonce + sealed

    def open(self, datagram: bytes) -> Probe:
        """Open a probe from the remote peer.

        :raises DecodeError: if it is not authentic, or not a probe.
        """
        if len(datagram) < MIN_SIZE:
            raise DecodeError("probe too short")
        prefix = datagram[: _HEADER - _NONCE_SIZE]
        nonce = datagram[_HEADER - _NONCE_SIZE : _HEADER]
        try:
            body = self._aead.decrypt(nonce, datagram[_HEADER:], prefix)
        except InvalidTag:
            raise DecodeError("probe is not authentic") from None
        kind, token, family, address, port = _BODY.unpack_from(body)
        if kind not in (PING, PONG) or family not in (0, 4, 16):
            raise DecodeError("probe of an unknown kind")
        observed = None
        if family:
            observed = Endpoint(str(ipaddress.ip_address(address[:family])), port)
        return Probe(kind, token, observed, len(datagram))
