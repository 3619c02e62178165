"""The ciphers that records may be sealed with, and the keys for them.

Each cipher has a key of its own, derived from the session's, so that nothing sealed in one form can
be passed off as another.
"""

from __future__ import annotations

from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tunnelmesh.noise.primitives import kdf1
from tunnelmesh.wire.record import AES_256_GCM, CHACHA20_POLY1305

_LABELS = {
    CHACHA20_POLY1305: b"tunnelmesh record v1 chacha20-poly1305",
    AES_256_GCM: b"tunnelmesh record v1 aes-256-gcm",
}

Bytes = bytes | bytearray | memoryview


class Aead(Protocol):
    """What the two ciphers have in common (RFC 5116), without copying."""

    def encrypt_into(
        self, nonce: bytes, data: Bytes, associated_data: Bytes | None, buf: Bytes
    ) -> int: ...

    def decrypt_into(
        self, nonce: bytes, data: Bytes, associated_data: Bytes | None, buf: Bytes
    ) -> int: ...


def record_aead(cipher: int, key: bytes) -> Aead:
    """The cipher for a session's records in one direction.

    :param cipher: one of the ciphers of :mod:`tunnelmesh.wire.record`.
    :param key: the session's, for that direction (32 bytes).
    :raises KeyError: if there is no such cipher.
    """
    derived = kdf1(key, _LABELS[cipher])
    return AESGCM(derived) if cipher == AES_256_GCM else ChaCha20Poly1305(derived)
