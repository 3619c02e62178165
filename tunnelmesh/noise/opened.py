"""Where opened records are put together to packets."""

from __future__ import annotations

from tunnelmesh.bulk.description import headers_of
from tunnelmesh.bulk.super_packet import MIN_TCP_SEGMENT
from tunnelmesh.errors import DecodeError
from tunnelmesh.wire import ip
from tunnelmesh.wire.record import LAST
from tunnelmesh.wire.virtio import HEADER_SIZE as VIRTIO_SIZE

ROOM = 1 << 18
"""Bytes: what arrives together, 192 KB, and another whole record that a part of it completes. An
opened record with its virtio header is shorter than its datagrams."""


class OpenedBuffer:
    """Where opened packets are put; one for all sessions, since each batch is delivered before the
    next is opened.

    :ivar packets: the packets of the present batch, each with its virtio header before it.
    """

    def __init__(self) -> None:
        self.memory = bytearray(ROOM)
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


class SegmentGroup:
    """Segments of one super-packet, one after the other, as far as they have been opened.

    :ivar start: where the virtio header will be; *stop*: where the payload ends so far.
    :ivar template: the headers.
    :ivar first: the first segment's number; *next*: the next one's.
    :ivar size: bytes of payload in the first one.
    :ivar counter: the next one's.
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
        if counter != self.counter or self.ended:
            return False
        payload = length - len(self.template)
        if position == self.next:
            return payload == self.size
        return position == self.next + LAST and 0 < payload <= self.size

    def segment_size(self) -> int:
        """Bytes of payload in each segment but the last.

        :raises DecodeError: if a last segment, alone, does not fit its template.
        """
        if not self.ended or self.next > self.first + 1:
            return self.size
        if not self.first:  # and the only one
            return max(self.size, MIN_TCP_SEGMENT)
        before = ip.packet_length(self.template) - len(self.template) - self.size
        if before <= 0 or before % self.first or before // self.first < self.size:
            raise DecodeError("segment does not fit its template")
        return before // self.first
