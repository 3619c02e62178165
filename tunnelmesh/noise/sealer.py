"""Sealing super-packets into records (:mod:`tunnelmesh.wire.record`).

Nothing is copied that need not be: a segment's headers are written into the buffer that the kernel
has filled, over the tail of the segment before, which is sealed already; and all datagrams of a
super-packet end up one after the other, ready for one system call.
"""

from __future__ import annotations

from tunnelmesh.bulk.run import Run
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.noise.ciphers import Aead
from tunnelmesh.wire.record import (
    HEADER_SIZE,
    LAST,
    MAX_COUNT,
    MAX_SEGMENTS,
    SEGMENT,
    SEGMENT_OVERHEAD,
    SEGMENT_SIZE,
    TAG_SIZE,
    prefix,
)
from tunnelmesh.wire.virtio import HEADER_SIZE as VIRTIO_SIZE

_ROOM = 1 << 17
"""Bytes: 64 KB of payload, and 128 times the overhead with the longest headers."""

_SALT = bytes(4)
_ORDINARY = SEGMENT_SIZE.pack(0)


class SealedBuffer:
    """Where sealed records are put; one for all sessions, since each is sent before the next.

    :ivar datagrams: segments, headers and all, one after the other.
    :ivar headers: of a whole record's parts; *sealed*: the record itself, without them.
    """

    def __init__(self) -> None:
        self.datagrams = memoryview(bytearray(_ROOM))
        self.headers = memoryview(bytearray(HEADER_SIZE * (MAX_COUNT + 1)))
        self.sealed = memoryview(bytearray(_ROOM))
        self._parts: dict[int, list[memoryview]] = {}

    def parts(self, size: int) -> list[memoryview]:
        """Headers and chunks of *size* bytes in turn, as they go into datagrams."""
        parts = self._parts.get(size)
        if parts is None:
            self._parts.clear()  # sizes seldom change
            parts = self._parts[size] = []
            for number, at in enumerate(range(0, min(_ROOM, size * MAX_COUNT), size)):
                parts.append(self.headers[number * HEADER_SIZE : (number + 1) * HEADER_SIZE])
                parts.append(self.sealed[at : at + size])
        return parts


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
        self._prefixes: dict[int, list[bytes]] = {}

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

    def seal_whole(self, packet: SuperPacket, counter: int, datagram: int) -> Run:
        """Seal a super-packet at once, and cut it into datagrams.

        :param datagram: bytes of the longest datagram.
        """
        start = packet.start + VIRTIO_SIZE - SEGMENT_SIZE.size
        SEGMENT_SIZE.pack_into(packet.buffer, start, packet.segment_size)
        return self._seal_plain(memoryview(packet.buffer)[start : packet.stop], counter, datagram)

    def seal_packet(self, packet: bytes, counter: int, datagram: int) -> Run:
        """Seal an ordinary packet that is too long for one datagram."""
        return self._seal_plain(memoryview(_ORDINARY + packet), counter, datagram)

    def _seal_plain(self, plain: memoryview, counter: int, datagram: int) -> Run:
        buffer = self._buffer
        sequence = counter.to_bytes(8, "little")
        sealed = len(plain) + TAG_SIZE
        size = datagram - HEADER_SIZE
        count = -(-sealed // size)
        prefixes = self._prefixes_of(count)
        self._seal(_SALT + sequence, plain, prefixes[0], buffer.sealed[:sealed])
        buffer.headers[: count * HEADER_SIZE] = sequence.join(prefixes) + sequence
        parts = buffer.parts(size)[: 2 * count]
        parts[-1] = parts[-1][: sealed - (count - 1) * size]
        return Run(parts, datagram, count)

    def _prefixes_of(self, count: int) -> list[bytes]:
        prefixes = self._prefixes.get(count)
        if prefixes is None:
            prefixes = [prefix(n, count, self._cipher, self._receiver) for n in range(count)]
            self._prefixes[count] = prefixes
        return prefixes


def fits(packet: SuperPacket, datagram: int) -> bool:
    """Whether a super-packet's segments can each be a datagram of that many bytes."""
    longest: int = packet.headers + packet.segment_size + SEGMENT_OVERHEAD
    return packet.count <= MAX_SEGMENTS and longest <= datagram
