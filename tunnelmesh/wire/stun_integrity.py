"""Who sent a STUN message: MESSAGE-INTEGRITY and its SHA-256 sister (RFC 8489 §14.5, §14.6)."""

from __future__ import annotations

import hmac

from tunnelmesh.wire.stun import HEADER, Attribute, walk


def is_authentic(datagram: bytes, key: bytes) -> bool:
    """Whether *datagram* has a MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256, and only right ones.

    :param key: the password, or the long-term key (RFC 8489 §9.2.2).
    :raises DecodeError: if *datagram* is not STUN.
    """
    authentic = False
    for kind, at, end in walk(datagram):
        size = end - at - 4
        if kind == Attribute.MESSAGE_INTEGRITY and size == 20:
            digest = "sha1"
        elif kind == Attribute.MESSAGE_INTEGRITY_SHA256 and 16 <= size <= 32:
            digest = "sha256"
        elif kind in (Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256):
            return False
        else:
            continue
        # What is signed is the message as it was when this attribute was its last.
        signed = datagram[:2] + (end - HEADER).to_bytes(2) + datagram[4:at]
        if not hmac.compare_digest(hmac.digest(key, signed, digest)[:size], datagram[at + 4 : end]):
            return False
        authentic = True
    return authentic
