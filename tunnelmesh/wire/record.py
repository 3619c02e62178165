"""Records: how two TunnelMesh peers carry super-packets, which WireGuard would cut up.

A record is sealed once, with a key derived from the session's, under a counter that it shares with
the session's WireGuard messages. On the wire it is one datagram or several, each::

    5 u8 | position u8 | count u8 | cipher u8 | receiver u32 | counter u64 (little-endian) | chunk

*receiver* is the index that the receiver chose for the session, as in WireGuard's messages.

- A **segment** (*count* 0): the chunk is the whole sealed record; its plaintext is the headers of
  the super-packet, unchanged, and the payload of one segment alone. *position* is the segment's
  number, from 0, and 128 more in the last one. All segments of a super-packet have consecutive
  counters, and all but the last are of one length.
- A **whole** record (*count* 1 to 255) fills datagrams number *position*, from 0; all but the last
  are of one length, a multiple of 8, and all together are::

      header | 8 bytes for each further datagram | 8 more for each | sealed record

  The header of each further datagram lies over the sealed record, and the bytes that it covers are
  where the first has room for them: all first halves, then all second halves. So the sealed record
  is in one piece for who seals and for who opens it, and what moves is 16 bytes a datagram.

  Its plaintext is ``segment_size u16`` and an IP packet: a super-packet whose segments have so many
  bytes of payload, or an ordinary packet if that is 0.

What is authenticated with the plaintext is all before the counter, *position* as 0 in a whole
record.
The receiver needs no other header: what the kernel wants to know of a super-packet follows from the
packet itself.
"""

from __future__ import annotations

import struct

from tunnelmesh.wire.wireguard import INDEX_SIZE

KIND = 5
"""First byte; WireGuard's messages have 1 to 4."""

HEADER_SIZE = 16
"""Bytes before the chunk."""

TAG_SIZE = 16
"""Bytes of the tag at the end of the sealed record; all ciphers have the same."""

SEGMENT_OVERHEAD = HEADER_SIZE + TAG_SIZE
"""Bytes by which a segment's datagram is longer than the packet that it stands for."""

WHOLE_OVERHEAD = 2 + TAG_SIZE
"""Bytes by which a whole record's chunks are longer together than the packet in it."""

SEGMENT = 0
"""The *count* of a segment."""

WORD = 8
"""Bytes of half a header; datagrams of whole records are a multiple of that long."""

LAST = 0x80
"""Added to the position of a super-packet's last segment."""

MAX_SEGMENTS = 128
"""Most segments that can be numbered."""

CHACHA20_POLY1305 = 0
AES_256_GCM = 1
AES_256_OCB = 2
"""Ciphers."""

SEGMENT_SIZE = struct.Struct(">H")
"""What a whole record's plaintext begins with."""

_POSITIONS = bytes(range(256))

_PREFIX = struct.Struct(">BBBB4s")


def prefix(position: int, count: int, cipher: int, receiver: bytes) -> bytes:
    """The header up to the counter (8 bytes)."""
    return _PREFIX.pack(KIND, position, count, cipher, receiver)


def is_complete(datagrams: memoryview, step: int) -> bool:
    """Whether datagrams look like all parts of one whole record, in order.

    What deceives this has put a part of its own among a record's, and then that is not authentic.

    :param datagrams: one after the other, each *step* bytes long but the last.
    """
    count = -(-len(datagrams) // step)
    last = len(datagrams) - (count - 1) * step
    if last <= HEADER_SIZE or (count > 1 and (step % WORD or step < HEADER_SIZE * count)):
        return False
    if datagrams[2] != count or bytes(datagrams[1::step]) != _POSITIONS[:count]:
        return False
    lowest = bytes(datagrams[8::step])  # byte of the counter, which tells neighbours apart
    return lowest.count(lowest[0]) == count


def receiver_of(datagram: bytes | memoryview) -> bytes:
    """The index of the session that a datagram is for."""
    return bytes(datagram[4 : 4 + INDEX_SIZE])
