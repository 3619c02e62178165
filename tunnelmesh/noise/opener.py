"""Opening records (:mod:`tunnelmesh.wire.record`), and putting super-packets together again.

A segment is opened where its payload belongs, right after that of the segment before it, whose tail
its headers cover for a moment. So a super-packet's segments end up under one header without being
copied, and where all have arrived it is, byte for byte, what the sender's kernel had handed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cryptography.exceptions import InvalidTag

from tunnelmesh.bulk.description import describe, describe_whole
from tunnelmesh.bulk.template import assemble
from tunnelmesh.errors import DecodeError
from tunnelmesh.noise.ciphers import Aead
from tunnelmesh.noise.counters import Counters
from tunnelmesh.noise.opened import ROOM, OpenedBuffer, SegmentGroup
from tunnelmesh.noise.reassembly import Reassembly
from tunnelmesh.noise.replay import ReplayWindow
from tunnelmesh.wire import ip
from tunnelmesh.wire.record import (
    HEADER_SIZE,
    KIND,
    LAST,
    SEGMENT_SIZE,
    TAG_SIZE,
    WORD,
    is_complete,
)
from tunnelmesh.wire.virtio import EMPTY
from tunnelmesh.wire.virtio import HEADER_SIZE as VIRTIO_SIZE

_SALT = bytes(4)
_FIRST = bytes((KIND, 0))
_POSITIONS = bytes(range(256))


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

    def open_segments(self, datagrams: memoryview, step: int) -> int:
        """Open segments that arrived together.

        :param datagrams: one after the other, each *step* bytes long but the last.
        :returns: how many were authentic and new.
        """
        if self._buffer.end + len(datagrams) > ROOM:
            self._counters.malformed += -(-len(datagrams) // step)
            return 0
        memory, view, unseal = self._buffer.memory, self._buffer.view, self._unseal
        group: SegmentGroup | None = None
        opened = 0
        for head, sequence, sealed in _parted(datagrams, step):
            length = len(sealed) - TAG_SIZE
            position = head[1]
            counter = int.from_bytes(sequence, "little")
            if group is not None and not group.awaits(position, counter, length):
                self._close(group)
                group = None
            if group is None:
                put = self._buffer.end + VIRTIO_SIZE
                if length > 0 and unseal(head, sequence, sealed, view[put : put + length]):
                    opened += 1
                    group = self._begin(put + length, position, counter)
                continue
            stop, template = group.stop, group.template
            put = stop - len(template)
            tail = memory[put:stop]
            if not unseal(head, sequence, sealed, view[put : put + length]):
                memory[put:stop] = tail
                continue
            opened += 1
            if memory[put:stop] == template:
                memory[put:stop] = tail
                group.stop = put + length
                group.next += 1
                group.counter += 1
                group.ended = position >= LAST
            else:
                packet = memory[put : put + length]
                memory[put:stop] = tail
                self._close(group)
                put = self._buffer.end + VIRTIO_SIZE
                memory[put : put + length] = packet
                group = self._begin(put + length, position, counter)
        if group is not None:
            self._close(group)
        return opened

    def open_whole(self, datagrams: memoryview, step: int) -> int:
        """Open a whole record.

        :param datagrams: all its parts, in order (:func:`.is_complete`), one after the other; they
            are not what they were afterwards.
        :returns: 1 if it was authentic and new, else 0.
        """
        buffer = self._buffer
        count = datagrams[2]
        start = buffer.end
        put = start + VIRTIO_SIZE - SEGMENT_SIZE.size
        stop = put + len(datagrams) - count * HEADER_SIZE - TAG_SIZE
        if stop < put + SEGMENT_SIZE.size + ip.IPV4_HEADER or stop > ROOM:
            self._counters.malformed += 1
            return 0
        header = bytes(datagrams[:HEADER_SIZE])
        if count > 1:
            ahead, stride = count - 1, step // WORD
            words = datagrams[: len(datagrams) // WORD * WORD].cast("Q")
            words[stride::stride] = words[2 : 2 + ahead]
            words[stride + 1 :: stride] = words[2 + ahead : 2 + 2 * ahead]
        sealed = datagrams[count * HEADER_SIZE :]
        sequence = header[8:]
        try:
            self._open(_SALT + sequence, sealed, _FIRST + header[2:8], buffer.view[put:stop])
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
                describe_whole(memory, start, stop, size)
            else:
                memory[start : start + VIRTIO_SIZE] = EMPTY
                at = start + VIRTIO_SIZE
                is_control = memory[at] >> 4 == 0
                if not is_control and ip.packet_length(memory, at) != stop - at:
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
        positions = bytes(datagrams[1::step])
        in_order = _POSITIONS[:count]
        opened = at = 0
        while at < len(starts):
            start = starts[at]
            together = datagrams[start : start + count * step]
            if positions[at : at + count] == in_order and is_complete(together, step):
                opened += self.open_whole(together, step)
                at += count
                continue
            complete = reassembly.add(datagrams[start : start + step])
            if complete is not None:
                opened += self.open_whole(*complete)
            at += 1
        return opened

    def _unseal(self, head: bytes, sequence: bytes, sealed: bytes, into: memoryview) -> bool:
        """Open a segment; whether it was authentic and new."""
        try:
            self._open(_SALT + sequence, sealed, head, into)
        except InvalidTag:
            self._counters.forged_packets += 1
            return False
        if not self._accept(int.from_bytes(sequence, "little")):
            self._counters.replayed_packets += 1
            return False
        return True

    def _begin(self, stop: int, position: int, counter: int) -> SegmentGroup | None:
        """A segment that follows no other has been opened, up to *stop*."""
        try:
            return SegmentGroup(self._buffer.memory, self._buffer.end, stop, position, counter)
        except DecodeError:
            self._counters.malformed_packets += 1
            return None

    def _close(self, group: SegmentGroup) -> None:
        """No segment follows: make a packet of those that are there."""
        memory = self._buffer.memory
        try:
            describe(memory, group.start, group.stop, group.segment_size())
            assemble(memory, group.start, group.stop, group.first)
        except DecodeError:
            self._counters.malformed_packets += 1
        else:
            self._buffer.add(group.start, group.stop)


def _parted(datagrams: memoryview, step: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Each datagram's header up to the counter, its counter, and its chunk."""
    whole = len(datagrams) // step * step
    yield from struct.iter_unpack(f"8s8s{step - HEADER_SIZE}s", datagrams[:whole])
    if len(datagrams) - whole >= HEADER_SIZE:
        last = bytes(datagrams[whole:])
        yield last[:8], last[8:HEADER_SIZE], last[HEADER_SIZE:]
