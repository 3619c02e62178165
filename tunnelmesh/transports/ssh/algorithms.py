"""What our SSH speaks, and nothing else: conch's own defaults reach back to MD5, 3DES and SHA-1.

conch has no AEAD ciphers and no encrypt-then-MAC. AES in counter mode with an HMAC over the
plaintext is not among the modes that prefix truncation ("Terrapin", CVE-2023-48795) breaks, and
:mod:`~tunnelmesh.transports.ssh.transport` takes no stray message during the first key exchange.
"""

from __future__ import annotations

KEY_EXCHANGES = [b"curve25519-sha256", b"curve25519-sha256@libssh.org"]
"""RFC 8731. conch's post-quantum exchange exists on its server only, so it cannot be offered."""

PUBLIC_KEYS = [b"ssh-ed25519"]
"""RFC 8709: the one kind of key that a machine has."""

CIPHERS = [b"aes256-ctr", b"aes128-ctr"]
"""RFC 4344. With AES-NI their cost is small beside the HMAC's."""

MACS = [b"hmac-sha2-256", b"hmac-sha2-512"]
"""RFC 6668. SHA-256 first: processors have instructions for it, which makes it 2.5 times faster."""

COMPRESSIONS = [b"none"]
"""What passes is encrypted already, and does not shrink."""

_BLOB_PREFIX = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"
"""What precedes the 32 bytes of the key (RFC 8709 §4)."""


def blob_from_key(public_key: bytes) -> bytes:
    """An Ed25519 public key in its SSH form.

    :param public_key: 32 bytes.
    """
    return _BLOB_PREFIX + public_key


def key_from_blob(blob: bytes) -> bytes | None:
    """The 32 bytes of an Ed25519 public key in SSH form; None for any other kind of key."""
    if len(blob) != len(_BLOB_PREFIX) + 32 or not blob.startswith(_BLOB_PREFIX):
        return None
    return blob[len(_BLOB_PREFIX) :]
