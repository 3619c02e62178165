"""What a coordinator link carries: frames, whatever the link is made of.

::

    kind u8 | length u24 (big-endian) | body

Over SSH the frames form a byte stream; a WebSocket message holds any whole number of them. A frame
of a kind that is not known is skipped and counted, so that a newer version can add kinds.

A ``RELAY`` body is a batch of datagrams for (towards the coordinator) or from (away from it) one
peer, named by its IPv4 mesh address. The coordinator replaces those four bytes and forwards the
rest unread, so that its work is per batch and not per datagram::

    address u32 | (length u16 | datagram)*

A ``BATCH`` body is a batch of datagrams between two peers whose connection is their own::

    (length u16 | datagram)*
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tunnelmesh.errors import DecodeError

SIGNAL = 1
"""Body: one signalling message, JSON (:mod:`tunnelmesh.wire.signal`)."""

RELAY = 2
"""Body: a mesh address and a batch of datagrams."""

BATCH = 3
"""Body: a batch of datagrams."""

HEADER = 4
"""Bytes before the body."""

MAX_BODY = 1 << 17
"""Longest body taken, in bytes: two full super-packets with their overhead; a roster is split."""

_LENGTH = struct.Struct(">H")


def encode(kind: int, body: bytes) -> bytes:
    """One frame.

    :raises ValueError: if the body is longer than :data:`MAX_BODY`.
    """
    if len(body) > MAX_BODY:
        raise ValueError(f"a frame's body of {len(body)} bytes is too long")
    return b"%c%b%b" % (kind, len(body).to_bytes(3, "big"), body)


def encode_relay(address: bytes, datagrams: Sequence[bytes]) -> bytes:
    """A ``RELAY`` frame carrying *datagrams* to, or from, the peer with that mesh address."""
    return encode(RELAY, address + _join(datagrams))


def encode_batch(datagrams: Sequence[bytes]) -> bytes:
    """A ``BATCH`` frame."""
    return encode(BATCH, _join(datagrams))


def _join(datagrams: Sequence[bytes]) -> bytes:
    parts = []
    for datagram in datagrams:
        parts.append(_LENGTH.pack(len(datagram)))
        parts.append(datagram)
    return b"".join(parts)


def decode_relay(body: bytes) -> tuple[bytes, list[bytes]]:
    """Take a ``RELAY`` body apart.

    :returns: the mesh address (4 bytes) and the datagrams.
    :raises DecodeError: if lengths do not add up, or a datagram is empty.
    """
    if len(body) < 4:
        raise DecodeError("relay frame shorter than an address")
    return body[:4], decode_batch(body, 4)


def decode_batch(body: bytes, at: int = 0) -> list[bytes]:
    """Take a batch apart.

    :param at: where in *body* it begins.
    :raises DecodeError: if lengths do not add up, or a datagram is empty.
    """
    end = len(body)
    datagrams = []
    while at < end:
        start = at + 2
        if start > end:
            raise DecodeError("batch ends inside a length")
        at = start + ((body[at] << 8) | body[at + 1])
        if at > end or at == start:
            raise DecodeError("batch's datagram is empty or cut off")
        datagrams.append(body[start:at])
    return datagrams


def split(datagrams: Sequence[bytes], size: int) -> list[Sequence[bytes]]:
    """Cut a batch into ones of up to *size* bytes of datagrams each, so that no frame gets long."""
    if sum(map(len, datagrams)) <= size:
        return [datagrams]
    batches: list[Sequence[bytes]] = []
    batch: list[bytes] = []
    total = 0
    for datagram in datagrams:
        if batch and total + len(datagram) > size:
            batches.append(batch)
            batch, total = [], 0
        batch.append(datagram)
        total += len(datagram)
    batches.append(batch)
    return batches


class FrameDecoder:
    """Cut a byte stream into frames, holding at most one unfinished frame.

    :param max_body: longest body accepted; smaller for strangers than for members.
    """

    def __init__(self, max_body: int = MAX_BODY) -> None:
        self.max_body = max_body
        self._rest = b""

    def receive(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take what arrived and return the frames that are whole.

        :returns: (kind, body) pairs, in order.
        :raises DecodeError: if a frame announces more than ``max_body``; the stream is lost then.
        """
        if self._rest:
            data = self._rest + data
        frames = []
        at = 0
        end = len(data)
        while end - at >= HEADER:
            length = (data[at + 1] << 16) | (data[at + 2] << 8) | data[at + 3]
            if length > self.max_body:
                raise DecodeError(f"frame announces {length} bytes, more than {self.max_body}")
            stop = at + HEADER + length
            if stop > end:
                break
            frames.append((data[at], data[at + HEADER : stop]))
            at = stop
        self._rest = data[at:]
        return frames

    @property
    def unfinished(self) -> int:
        """Bytes held back until the rest of their frame arrives."""
        return len(self._rest)
