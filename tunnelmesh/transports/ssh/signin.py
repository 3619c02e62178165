"""The messages of sign-in that both ends need (RFC 4252)."""

from __future__ import annotations

from twisted.conch.ssh.common import NS, getNS

from tunnelmesh.transports.ssh.algorithms import blob_from_key

USERAUTH = b"ssh-userauth"
CONNECTION = b"ssh-connection"
"""The two services of SSH: sign-in, and what it opens the door to."""

REQUEST = 50
FAILURE = 51
SUCCESS = 52
BANNER = 53
PK_OK = 60
"""Message numbers (RFC 4252 §6 and §7)."""


def signed_data(session_id: bytes, user: bytes, key: bytes) -> bytes:
    """What a sign-in's signature covers (RFC 4252 §7): the session, and the request as it is sent.

    :param key: the Ed25519 public key, 32 bytes.
    """
    return NS(session_id) + bytes([REQUEST]) + request(user, key)


def request(user: bytes, key: bytes) -> bytes:
    """The request to sign in with *key*, up to the signature."""
    return (
        NS(user)
        + NS(CONNECTION)
        + NS(b"publickey")
        + b"\1"
        + NS(b"ssh-ed25519")
        + NS(blob_from_key(key))
    )


def signature_blob(signature: bytes) -> bytes:
    """A signature (64 bytes) in its SSH form (RFC 8709 §6)."""
    return NS(b"ssh-ed25519") + NS(signature)


def signature_from_blob(blob: bytes) -> bytes:
    """The signature in *blob*; empty, hence never valid, if it is of another kind."""
    kind, signature, _ = getNS(blob, 2)
    return signature if kind == b"ssh-ed25519" else b""
