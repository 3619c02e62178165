"""The receiving half of a TCP connection: segments in any order, bytes in theirs."""

from __future__ import annotations


class Reassembly:
    """What has arrived of the other end's bytes.

    :ivar next: the number of the first byte that has not arrived.
    :ivar at_end: everything up to the other end's FIN has.

    :param start: the number of the first byte.
    :param capacity: bytes kept for a reader that is slow.
    """

    def __init__(self, start: int, capacity: int) -> None:
        self.next = start
        self.at_end = False
        self._capacity = capacity
        self._inbox = bytearray()
        self._early: dict[int, bytes] = {}
        self._end: int | None = None

    @property
    def readable(self) -> int:
        """Bytes that wait to be read."""
        return len(self._inbox)

    @property
    def room(self) -> int:
        """Bytes that may still come: the window."""
        return max(0, self._capacity - len(self._inbox))

    def covers(self, sequence: int) -> bool:
        """Whether a number lies in the window."""
        return self.next <= sequence <= self.next + self._capacity

    def read(self, limit: int) -> bytes:
        """Take up to *limit* bytes."""
        data = bytes(self._inbox[:limit])
        del self._inbox[:limit]
        return data

    def accept(self, sequence: int, data: bytes, finishes: bool) -> None:
        """A segment's bytes: old, new, early or too many; *finishes* where it has a FIN."""
        edge = self.next + self.room
        if finishes and self._end is None:
            self._end = sequence + len(data)
        if sequence > self.next:
            if sequence + len(data) <= edge and len(self._early.get(sequence, b"")) < len(data):
                self._early[sequence] = data
            return
        self._take(data[self.next - sequence : max(0, edge - sequence)])
        while self._early:
            first = min(self._early)
            if first > self.next:
                break
            self._take(self._early.pop(first)[self.next - first :])
        if self.next == self._end:
            self.next += 1
            self.at_end = True

    def _take(self, data: bytes) -> None:
        self._inbox += data
        self.next += len(data)
