"""Sealing super-packets into records (:mod:`tunnelmesh.wire.record`).

Nothing is copied that need not be: a segment's headers are written into the buffer that the kernel
has filled, over the tail of the segment before, which is sealed already; the headers of a whole
record's datagrams are laid over it; and all datagrams of a super-packet end up one after the other,
ready for one system call.
"""

from __future__ import annotations

from typing import NamedTuple

from tunnelmesh.bulk.run import Run
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.noise.ciphers import Aead
from tunnelmesh.wire.record import (
    HEADER_SIZE,
    LAST,
    MAX_SEGMENTS,
    SEGMENT,
    SEGMENT_OVERHEAD,
    SEGMENT_SIZE,
    TAG_SIZE,
    WORD,
    prefix,
)
from tunnelmesh.wire.virtio import HEADER_SIZE as VIRTIO_SIZE

_ROOM = 1 << 17
"""Bytes: 64 KB of payload, and 128 times the overhead with the longest headers."""

_MAX_CUTS = 16
"""Lengths of records for which it is remembered how they are cut: a stream's super-packets are
nearly all as long as they may be."""

_SALT = bytes(4)
_ORDINARY = SEGMENT_SIZE.pack(0)


class SealedBuffer:
    """Where sealed records are put; one for all sessions, since each is sent before the next.

    :ivar datagrams: one after the other, headers and all; *words*: the same memory, in halves of
        headers.
    """

    def __init__(self) -> None:
        self.datagrams = memoryview(bytearray(_ROOM))
        self.words = self.datagrams.cast("Q")


class _Cut(NamedTuple):
    """How a whole record of one length is spread over datagrams of one length.

    :ivar sealed: where the record is to be.
    :ivar covered: its words that headers cover, first and second ones; *kept*: where they go.
    :ivar prefixes: the headers' first words; *heads*: where these go, and *counters*: the second.
    :ivar first: the first header's first word.
    """

    sealed: memoryview
    covered: tuple[memoryview, memoryview]
    kept: tuple[memoryview, memoryview]
    prefixes: memoryview
    heads: memoryview
    counters: memoryview
    first: bytes
    run: Run


class RecordSealer:
    """Seals records of one session, with one cipher.

    :param aead: with the record key.
    :param cipher: which it is, for the header.
    :param receiver: the index that the remote peer chose (4 bytes).
    """

    def __init__(self, aead: Aead, cipher: int, receiver: bytes, buffer: SealedBuffer) -> None:
        self._seal = aead.encrypt_into
        self._buffer = buffer
        self._segments = [
            prefix(position, SEGMENT, cipher, receiver) for position in range(LAST + MAX_SEGMENTS)
        ]
        self._cipher = cipher
        self._receiver = receiver
        self._cuts: dict[tuple[int, int], _Cut] = {}

    def seal_segments(self, packet: SuperPacket, counter: int) -> Run:
        """Seal each segment alone, under *counter* and those that follow.

        The packet's buffer is not what it was afterwards.

        :param packet: of at most :data:`MAX_SEGMENTS` segments.
        """
        seal, out, prefixes = self._seal, self._buffer.datagrams, self._segments
        buffer = packet.buffer
        headers, size = packet.headers, packet.segment_size
        at = packet.start + VIRTIO_SIZE
        template = buffer[at : at + headers]
        plain = memoryview(buffer)
        length = headers + size
        step = SEGMENT_OVERHEAD + length
        put = 0
        last = packet.count - 1
        for number in range(packet.count):
            if number == last:
                length = packet.stop - at
                number += LAST
            buffer[at : at + headers] = template
            sequence = counter.to_bytes(8, "little")
            head = prefixes[number]
            end = put + SEGMENT_OVERHEAD + length
            out[put : put + HEADER_SIZE] = head + sequence
            seal(_SALT + sequence, plain[at : at + length], head, out[put + HEADER_SIZE : end])
            counter += 1
            put = end
            at += size
        return Run([out[:put]], step, packet.count)

    def seal_packet(self, packet: bytes, counter: int, datagram: int) -> Run:
        """Seal an ordinary packet that is too long for one datagram."""
        return self.seal_plain(memoryview(_ORDINARY + packet), counter, datagram)

    def seal_plain(self, plain: memoryview, counter: int, datagram: int) -> Run:
        """Seal a plaintext at once, and cut it into datagrams.

        :param datagram: bytes of the longest datagram.
        """
        kind = len(plain), datagram
        cut = self._cuts.get(kind) or self._cut(*kind)
        sealed, covered, kept, prefixes, heads, counters, first, run = cut
        sequence = counter.to_bytes(8, "little")
        self._seal(_SALT + sequence, plain, first, sealed)
        kept[0][:] = covered[0]
        kept[1][:] = covered[1]
        heads[:] = prefixes
        counters[:] = memoryview(sequence * run.count).cast("Q")
        return run

    def _cut(self, length: int, datagram: int) -> _Cut:
        """Find out once how a record of *length* bytes, before it is sealed, is to be cut."""
        step = datagram - datagram % WORD
        size = length + TAG_SIZE
        count = -(-size // (step - HEADER_SIZE))
        if count * HEADER_SIZE > step:
            raise ValueError(f"a record of {size} bytes does not fit datagrams of {datagram}")
        whole = HEADER_SIZE * count + size
        words, stride = self._buffer.words, step // WORD
        heads = words[: count * stride : stride]
        counters = words[1 : count * stride : stride]
        ahead = count - 1
        prefixes = [prefix(n, count, self._cipher, self._receiver) for n in range(count)]
        if len(self._cuts) >= _MAX_CUTS:
            self._cuts.clear()
        cut = self._cuts[length, datagram] = _Cut(
            self._buffer.datagrams[HEADER_SIZE * count : whole],
            (heads[1:], counters[1:]),
            (words[2 : 2 + ahead], words[2 + ahead : 2 + 2 * ahead]),
            memoryview(b"".join(prefixes)).cast("Q"),
            heads,
            counters,
            prefixes[0],
            Run([self._buffer.datagrams[:whole]], step, count),
        )
        return cut


def fits(packet: SuperPacket, datagram: int) -> bool:
    """Whether a super-packet's segments can each be a datagram of that many bytes."""
    longest: int = packet.headers + packet.segment_size + SEGMENT_OVERHEAD
    return packet.count <= MAX_SEGMENTS and longest <= datagram
