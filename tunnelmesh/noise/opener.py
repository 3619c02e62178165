"""Opening records (:mod:`tunnelmesh.wire.record`), and putting super-packets together again.

A segment is opened where its payload belongs, right after that of the segment before it, whose tail
its headers cover for a moment. So a super-packet's segments end up under one header without being
copied, and where all have arrived it is, byte for byte, what the sender's kernel had handed over.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag

from tunnelmesh.bulk.description import describe, headers_of, read_described
from tunnelmesh.bulk.template import assemble
from tunnelmesh.errors import DecodeError
from tunnelmesh.noise.ciphers import Aead
from tunnelmesh.noise.counters import Counters
from tunnelmesh.noise.reassembly import Reassembly
from tunnelmesh.noise.replay import ReplayWindow
from tunnelmesh.wire import ip
from tunnelmesh.wire.record import (
    HEADER_SIZE,
    KIND,
    LAST,
    SEGMENT_OVERHEAD,
    SEGMENT_SIZE,
    TAG_SIZE,
)
from tunnelmesh.wire.virtio import EMPTY
from tunnelmesh.wire.virtio import HEADER_SIZE as VIRTIO_SIZE

_ROOM = 1 << 18
"""Bytes: what arrives together, 192 KB, and another whole record that a part of it completes. An
opened record with its virtio header is shorter than its datagrams."""

_SALT = bytes(4)


class OpenedBuffer:
    """Where opened packets are put; one for all sessions, since each batch is delivered before the
    next is opened.

    :ivar packets: the packets of the present batch, each with its virtio header before it.
    """

    def __init__(self) -> None:
        self.memory = bytearray(_ROOM)
        self.view = memoryview(self.memory)
        self.packets: list[memoryview] = []
        self.end = 0

    def clear(self) -> None:
        """Begin the next batch."""
        self.packets = []
        self.end = 0

    def add(self, start: int, stop: int) -> None:
        """A packet is complete."""
        self.packets.append(self.view[start:stop])
        self.end = stop


class _Group:
    """Segments of one super-packet, one after the other, as far as they have been opened.

    :ivar start: where the virtio header will be; *stop*: where the payload ends so far.
    :ivar template: the headers.
    :ivar first: the first segment's number; *next*: the next one's; *counter*: the next one's.
    :ivar ended: whether the super-packet's last segment is among them.
    """

    __slots__ = ("counter", "ended", "first", "next", "size", "start", "stop", "template")

    def __init__(
        self, memory: bytearray, start: int, stop: int, position: int, counter: int
    ) -> None:
        at = start + VIRTIO_SIZE
        _, _, headers = headers_of(memory, at, stop)
        self.start = start
        self.stop = stop
        self.template = memory[at : at + headers]
        self.size = stop - at - headers
        self.first = position & ~LAST
        self.next = self.first + 1
        self.counter = counter + 1
        self.ended = position >= LAST

    def awaits(self, position: int, counter: int, length: int) -> bool:
        """Whether a segment may be the next one, by its number, counter and length in bytes."""
        payload = length - len(self.template)
        fits = 0 < payload <= self.size if position >= LAST else payload == self.size
        return fits and position & ~LAST == self.next and counter == self.counter and not self.ended

    def add(self, position: int, stop: int) -> None:
        """The next segment is there."""
        self.stop = stop
        self.next += 1
        self.counter += 1
        self.ended = position >= LAST

    def segment_size(self) -> int:
        """Bytes of payload in each segment but the last.

        :raises DecodeError: if a last segment, alone, does not fit its template.
        """
        if not (self.ended and self.next == self.first + 1 and self.first):
            return self.size
        before = ip.packet_length(self.template) - len(self.template) - self.size
        if before <= 0 or before % self.first or before // self.first < self.size:
            raise DecodeError("segment does not fit its template")
        return before // self.first


class RecordOpener:
    """Opens records of one session, sealed with one cipher.

    :param aead: with the record key.
    :param window: the session's.
    :param counters: where drops are counted.
    """

    def __init__(
        self, aead: Aead, window: ReplayWindow, counters: Counters, buffer: OpenedBuffer
    ) -> None:
        self._open = aead.decrypt_into
        self._accept = window.accept
        self._counters = counters
        self._buffer = buffer
        self._head = b""
        self._prefixes: list[bytes] = []

    def open_segments(self, datagrams: memoryview, step: int) -> int:
        """Open segments that arrived together.

        :param datagrams: one after the other, each *step* bytes long but the last.
        :returns: how many were authentic and new.
        """
        memory, view = self._buffer.memory, self._buffer.view
        group: _Group | None = None
        opened = 0
        if self._buffer.end + len(datagrams) > _ROOM:
            self._counters.malformed += -(-len(datagrams) // step)
            return 0
        for at in range(0, len(datagrams), step):
            datagram = datagrams[at : at + step]
            length = len(datagram) - SEGMENT_OVERHEAD
            position = datagram[1]
            counter = int.from_bytes(datagram[8:HEADER_SIZE], "little")
            if group is not None and not group.awaits(position, counter, length):
                self._close(group)
                group = None
            if group is None:
                put = self._buffer.end + VIRTIO_SIZE
                if length > 0 and self._unseal(datagram, counter, view[put : put + length]):
                    opened += 1
                    group = self._begin(put + length, position, counter)
                continue
            template = group.template
            put = group.stop - len(template)
            tail = memory[put : group.stop]
            if not self._unseal(datagram, counter, view[put : put + length]):
                memory[put : group.stop] = tail
                continue
            opened += 1
            if memory[put : group.stop] == template:
                memory[put : group.stop] = tail
                group.add(position, put + length)
            else:
                packet = memory[put : put + length]
                memory[put : group.stop] = tail
                self._close(group)
                put = self._buffer.end + VIRTIO_SIZE
                memory[put : put + length] = packet
                group = self._begin(put + length, position, counter)
        if group is not None:
            self._close(group)
        return opened

    def open_whole(self, header: bytes | memoryview, sealed: bytes | memoryview) -> int:
        """Open a whole record.

        :param header: the first 16 bytes of one of its datagrams.
        :param sealed: all its chunks.
        :returns: 1 if it was authentic and new, else 0.
        """
        buffer = self._buffer
        start = buffer.end
        put = start + VIRTIO_SIZE - SEGMENT_SIZE.size
        stop = put + len(sealed) - TAG_SIZE
        if stop < put + SEGMENT_SIZE.size + ip.IPV4_HEADER or stop > _ROOM:
            self._counters.malformed += 1
            return 0
        sequence = bytes(header[8:HEADER_SIZE])
        prefix = bytes((KIND, 0)) + bytes(header[2:8])
        try:
            self._open(_SALT + sequence, sealed, prefix, buffer.view[put:stop])
        except InvalidTag:
            self._counters.forged_packets += 1
            return 0
        if not self._accept(int.from_bytes(sequence, "little")):
            self._counters.replayed_packets += 1
            return 0
        memory = buffer.memory
        size: int = SEGMENT_SIZE.unpack_from(memory, put)[0]
        try:
            if size:
                read_described(memory, start, stop, size)
            else:
                memory[start : start + VIRTIO_SIZE] = EMPTY
                if ip.packet_length(memory, start + VIRTIO_SIZE) != stop - start - VIRTIO_SIZE:
                    raise DecodeError("record's packet is not as long as its IP header says")
        except DecodeError:
            self._counters.malformed_packets += 1
        else:
            buffer.add(start, stop)
        return 1

    def open_parts(self, datagrams: memoryview, step: int, reassembly: Reassembly) -> int:
        """Open whole records of which parts arrived together.

        :param datagrams: one after the other, each *step* bytes long but the last, all parts of
            records with the same number of parts.
        :returns: how many records were complete, authentic and new.
        """
        count = datagrams[2]
        starts = range(0, len(datagrams), step)
        opened = at = 0
        while at < len(starts):
            some = starts[at : at + count]
            header = datagrams[some[0] : some[0] + HEADER_SIZE]
            if len(some) == count and self._in_order(datagrams, some, header):
                sealed = b"".join([datagrams[start + HEADER_SIZE : start + step] for start in some])
                opened += self.open_whole(header, sealed)
                at += count
                continue
            complete = reassembly.add(datagrams[some[0] : some[0] + step])
            if complete is not None:
                opened += self.open_whole(header, complete)
            at += 1
        return opened

    def _in_order(self, datagrams: memoryview, starts: range, header: memoryview) -> bool:
        """Whether the datagrams that start there are all parts of one record, in order."""
        count = len(starts)
        if count == 1:
            return datagrams[starts[0] + 1] == 0
        head, sequence = bytes(header[2:8]), bytes(header[8:])
        if head != self._head:
            self._head = head
            self._prefixes = [bytes((KIND, position)) + head for position in range(count)]
        headers = b"".join([datagrams[start : start + HEADER_SIZE] for start in starts])
        return headers == sequence.join(self._prefixes) + sequence

    def _unseal(self, datagram: memoryview, counter: int, into: memoryview) -> bool:
        """Open a segment; whether it was authentic and new."""
        try:
            self._open(_SALT + datagram[8:HEADER_SIZE], datagram[HEADER_SIZE:], datagram[:8], into)
        except InvalidTag:
            self._counters.forged_packets += 1
            return False
        if not self._accept(counter):
            self._counters.replayed_packets += 1
            return False
        return True

    def _begin(self, stop: int, position: int, counter: int) -> _Group | None:
        """A segment that follows no other has been opened, up to *stop*."""
        try:
            return _Group(self._buffer.memory, self._buffer.end, stop, position, counter)
        except DecodeError:
            self._counters.malformed_packets += 1
            return None

    def _close(self, group: _Group) -> None:
        """No segment follows: make a packet of those that are there."""
        memory = self._buffer.memory
        try:
            describe(memory, group.start, group.stop, group.segment_size())
            assemble(memory, group.start, group.stop, group.first)
        except DecodeError:
            self._counters.malformed_packets += 1
        else:
            self._buffer.add(group.start, group.stop)
