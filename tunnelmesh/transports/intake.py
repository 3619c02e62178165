"""What one turn of reading brings: handed over in order, and as much together as may be.

The kernel joins datagrams of one flow only where the network card's driver lets it. What it does
not join, but hands over one by one, is joined here: messages that may be a super-packet's segments
are read to where those before them end, so that they are opened in one go either way. Such are
records, and WireGuard's transport messages that are not small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tunnelmesh.bulk.worth import LARGE
from tunnelmesh.transports.offload import by_kind, cut
from tunnelmesh.wire.record import KIND, is_complete
from tunnelmesh.wire.wireguard import TRANSPORT

MAX_DATAGRAM = 65535
"""Bytes that one read brings at most."""

KEPT = 1 << 17
"""Bytes of messages that are handed over together, but for the last read's: two super-packets."""

_SMALL = bytes([KIND])
_ANY = _SMALL + TRANSPORT[:1]
"""The first bytes of messages that are handed over together, small ones and others."""

_memory = memoryview(bytearray(KEPT + MAX_DATAGRAM))
"""One for all sockets: each turn is over before the next begins."""


class Receiver(Protocol):
    """To whom it is handed over."""

    def batch_received(self, datagrams: list[bytes], source: Sequence[Any]) -> None: ...

    def record_received(self, record: memoryview, segment: int, source: Sequence[Any]) -> None: ...

    def run_received(self, messages: memoryview, segment: int, source: Sequence[Any]) -> None: ...


class Intake:
    """One turn of one socket.

    :ivar room: where the next read is to go.
    """

    __slots__ = ("_batch", "_kind", "_receiver", "_segment", "_source", "_start", "_stop", "room")

    def __init__(self, receiver: Receiver) -> None:
        self.room = _memory
        self._receiver = receiver
        self._source: Sequence[Any] = ()
        self._batch: list[bytes] = []
        self._start = self._stop = 0
        self._segment = 1
        self._kind = KIND

    def add(self, size: int, segment: int, source: Sequence[Any]) -> None:
        """A read has brought *size* bytes to where there was room.

        :param segment: bytes of each datagram but the last.
        :param source: the sender's host and port, and perhaps more.
        """
        at = self._stop
        if size > segment > 0 == at and not self._batch and _memory[0] == KIND:
            # Nearly always, where much arrives and the kernel joins it.
            data = _memory[:size]
            if is_complete(data, segment):
                self._receiver.record_received(data, segment, source)
                return
        if source != self._source:
            self.hand_over()
            self._source = source
            self._start = self._stop = at
        if size == segment and self._follows(_memory[at], segment, size):
            self._stop = at + size  # nearly always, where the kernel joins nothing
        else:
            self._sort(at, size, segment)
        if (size > segment > 0 and size % segment) or self._stop > KEPT:
            # Nothing can follow what ends with a shorter one.
            self.hand_over()
        if self._start == self._stop:
            self._start = self._stop = 0
        self.room = _memory[self._stop :]

    def hand_over(self) -> None:
        """Let go of all that is there."""
        if self._batch:
            batch, self._batch = self._batch, []
            self._receiver.batch_received(batch, self._source)
        self._hand_over_run()

    def _sort(self, at: int, size: int, segment: int) -> None:
        kinds = _SMALL if segment < LARGE else _ANY
        for kind, data in by_kind(_memory[at : at + size], segment, kinds):
            length = len(data)
            if kind is None:
                self._hand_over_run()
                self._batch += cut(data, segment)
                self._start = self._stop = at + length
            elif self._follows(kind, segment, length):
                self._stop += length
            else:
                self.hand_over()
                self._start, self._stop = at, at + length
                self._kind, self._segment = kind, segment
            at += length

    def _follows(self, kind: int, segment: int, length: int) -> bool:
        """Whether messages of that kind and such lengths continue the run that is there."""
        if self._start == self._stop or kind != self._kind:
            return False
        if (self._stop - self._start) % self._segment:
            return False
        return segment == self._segment or length == segment < self._segment

    def _hand_over_run(self) -> None:
        if self._start < self._stop:
            messages = _memory[self._start : self._stop]
            self._start = self._stop
            self._receiver.run_received(messages, self._segment, self._source)
