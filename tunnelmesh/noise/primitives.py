"""The cryptography that WireGuard is made of (paper, §5.4): X25519, BLAKE2s, and HKDF on it."""

from __future__ import annotations

import hmac
from hashlib import blake2s
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from tunnelmesh.errors import HandshakeError

KEY_SIZE: Final = 32
"""Bytes of a private key, a public key, a symmetric key and a hash alike."""


class StaticKey:
    """This machine's own X25519 key pair.

    :param private: the private key (32 bytes).
    """

    __slots__ = ("_private", "public")

    def __init__(self, private: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(private)
        self.public: Final = self._private.public_key().public_bytes_raw()

    def shared(self, public: bytes) -> bytes:
        """The Diffie-Hellman secret with the owner of *public*.

        :raises HandshakeError: if *public* is not a key: of another size, or of low order, so that
            the secret would be zeros, known to everybody.
        """
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise HandshakeError("the public key is of low order, or not 32 bytes") from None


def digest(*parts: bytes) -> bytes:
    """HASH: BLAKE2s of the parts, one after the other (32 bytes)."""
    return blake2s(b"".join(parts)).digest()


def mac(key: bytes, data: bytes) -> bytes:
    """MAC: keyed BLAKE2s (16 bytes)."""
    return blake2s(data, key=key, digest_size=16).digest()


def same(a: bytes, b: bytes) -> bool:
    """Compare two MACs without telling by the time it takes where they differ."""
    return hmac.compare_digest(a, b)


def kdf1(key: bytes, data: bytes) -> bytes:
    """HKDF with HMAC-BLAKE2s, first output (32 bytes)."""
    return _hmac(_hmac(key, data), b"\x01")


def kdf2(key: bytes, data: bytes) -> tuple[bytes, bytes]:
    """HKDF with HMAC-BLAKE2s, two outputs (32 bytes each)."""
    secret = _hmac(key, data)
    first = _hmac(secret, b"\x01")
    return first, _hmac(secret, first + b"\x02")


def kdf3(key: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    """HKDF with HMAC-BLAKE2s, three outputs (32 bytes each)."""
    secret = _hmac(key, data)
    first = _hmac(secret, b"\x01")
    second = _hmac(secret, first + b"\x02")
    return first, second, _hmac(secret, second + b"\x03")


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "blake2s")
