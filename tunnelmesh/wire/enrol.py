"""Enrolment: how a machine with an invitation becomes a member, over HTTPS.

The machine POSTs an :class:`Enrol` as JSON to :data:`PATH`. The answer is 200 with an
:class:`Enrolled`, or another status with a :class:`NotEnrolled`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Address

PATH = "/v1/enrol"
"""Where to POST to."""

MAX_BODY = 4096
"""Longest request taken, in bytes: ten times what one needs."""

_CONTEXT = b"tunnelmesh enrol v1\0"
"""Keeps an enrolment's signature from meaning anything elsewhere."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class Enrol:
    """Let me in.

    :ivar secret: the invitation's.
    :ivar name: what the machine wants to be called (:func:`is_name`).
    :ivar key: its Ed25519 public key (32 bytes).
    :ivar signature: its signature of :func:`enrol_text`: nobody enrols somebody else's key.
    """

    secret: bytes
    name: str
    key: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Enrolled:
    """You are a member.

    :ivar address: the machine's mesh address, in a mesh of this prefix length.
    :ivar address6: its mesh IPv6 address.
    :ivar coordinator_key: the Ed25519 key that the token has pinned already.
    """

    name: str
    address: IPv4Address
    prefix: int
    address6: str
    coordinator_key: bytes


@dataclass(frozen=True, slots=True)
class NotEnrolled:
    """You are not.

    :ivar error: a code for programs: ``malformed``, ``name``, ``signature``, ``unknown-token``,
        ``expired``, ``used-up``, ``name-taken``, ``key-taken``, ``removed``,
        ``pool-exhausted``, ``slow-down`` or ``unavailable``.
    :ivar message: for people: what to do.
    """

    error: str
    message: str


def is_name(text: str) -> bool:
    """Whether a machine can be called so: one DNS label (RFC 1123 §2.1) in lower case."""
    return _NAME.match(text) is not None


def enrol_text(coordinator_key: bytes, secret: bytes, name: str) -> bytes:
    """What an :class:`Enrol` signs."""
    return _CONTEXT + coordinator_key + sha256(secret).digest() + name.encode()
