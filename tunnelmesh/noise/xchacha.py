"""XChaCha20-Poly1305, whose nonce is long enough to be drawn at random. Cookies are sealed with it.

Source: draft-irtf-cfrg-xchacha-03. The library has no HChaCha20, but its ChaCha20 gives the whole
block function, which ends by adding the initial state to the mixed one. Subtracting that state
again leaves what HChaCha20 is made of.
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from tunnelmesh.errors import HandshakeError

NONCE_SIZE = 24

_SIGMA = struct.unpack("<4I", b"expand 32-byte k")
"""The constant in the first row of ChaCha's state (RFC 8439 §2.3)."""

_ROW = struct.Struct("<4I")


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """Derive a subkey.

    :param key: 32 bytes.
    :param nonce: 16 bytes.
    :returns: 32 bytes: the first and the last row of the mixed state.
    """
    block = Cipher(ChaCha20(key, nonce), mode=None).encryptor().update(bytes(64))
    return _subtract(block[:16], _SIGMA) + _subtract(block[48:], _ROW.unpack(nonce))


def seal(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt and authenticate, under a nonce of :data:`NONCE_SIZE` bytes."""
    subkey = ChaCha20Poly1305(hchacha20(key, nonce[:16]))
    return subkey.encrypt(bytes(4) + nonce[16:], plaintext, associated)


def unseal(key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    """Decrypt.

    :raises HandshakeError: if the ciphertext, or what is associated with it, is not authentic.
    """
    subkey = ChaCha20Poly1305(hchacha20(key, nonce[:16]))
    try:
        return subkey.decrypt(bytes(4) + nonce[16:], ciphertext, associated)
    except InvalidTag:
        raise HandshakeError("not sealed under this key") from None


def _subtract(row: bytes, initial: tuple[int, ...]) -> bytes:
    words = zip(_ROW.unpack(row), initial, strict=True)
    return _ROW.pack(*((mixed - start) & 0xFFFFFFFF for mixed, start in words))
