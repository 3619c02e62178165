"""The ciphers that records may be sealed with, and the keys for them.

Each cipher has a key of its own, derived from the session's, so that nothing sealed in one form can
be passed off as another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESOCB3, ChaCha20Poly1305

from tunnelmesh.noise.primitives import kdf1
from tunnelmesh.wire.record import AES_256_GCM, AES_256_OCB, CHACHA20_POLY1305

Bytes = bytes | bytearray | memoryview


class Aead(Protocol):
    """What the ciphers have in common (RFC 5116), without copying."""

    def encrypt_into(
        self, nonce: bytes, data: Bytes, associated_data: Bytes | None, buf: Bytes
    ) -> int: ...

    def decrypt_into(
        self, nonce: bytes, data: Bytes, associated_data: Bytes | None, buf: Bytes
    ) -> int: ...


_LABELS = {
    CHACHA20_POLY1305: b"tunnelmesh record v1 chacha20-poly1305",
    AES_256_GCM: b"tunnelmesh record v1 aes-256-gcm",
    AES_256_OCB: b"tunnelmesh record v1 aes-256-ocb",
}

_AEADS: dict[int, Callable[[bytes], Aead]] = {
    CHACHA20_POLY1305: ChaCha20Poly1305,
    AES_256_GCM: AESGCM,
    AES_256_OCB: AESOCB3,
}
"""RFC 8439, NIST SP 800-38D, and RFC 7253, each with nonces of 12 bytes and tags of 16."""

PREFERRED = (AES_256_OCB, AES_256_GCM, CHACHA20_POLY1305)
"""The quickest first, among those that a processor is quick at (:func:`quick_ciphers`)."""

_WIDE = {"vaes", "vpclmulqdq", "avx512f"}
"""What OpenSSL's quickest AES-GCM needs: 2 to 4 times as quick as AES-OCB, which is half as quick
again as AES-GCM where that is missing."""


def record_aead(cipher: int, key: bytes) -> Aead:
    """The cipher for a session's records in one direction.

    :param cipher: one of the ciphers of :mod:`tunnelmesh.wire.record`.
    :param key: the session's, for that direction (32 bytes).
    :raises KeyError: if there is no such cipher.
    """
    return _AEADS[cipher](kdf1(key, _LABELS[cipher]))


def quick_ciphers(flags: Collection[str]) -> frozenset[int]:
    """Which ciphers a processor is quick at.

    :param flags: what Linux calls its abilities: ``flags`` or ``Features`` in ``/proc/cpuinfo``.
    """
    quick = {CHACHA20_POLY1305}
    if "aes" in flags and ("pclmulqdq" in flags or "pmull" in flags):
        quick.add(AES_256_GCM)
        if "pclmulqdq" in flags and not set(flags) >= _WIDE:
            quick.add(AES_256_OCB)
    return frozenset(quick)
