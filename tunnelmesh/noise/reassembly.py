"""Whole records of which the parts arrive apart: some are lost, some overtake others."""

from __future__ import annotations

from collections import OrderedDict

from tunnelmesh.wire.record import HEADER_SIZE, WHOLE_OVERHEAD, is_complete

MAX_PENDING = 32
"""Records of which parts are kept: those that a path's reordering mixes, of several peers. With the
longest record this bounds the memory to two megabytes."""

MAX_SIZE = 65535 + WHOLE_OVERHEAD + 255 * HEADER_SIZE
"""Bytes of one record's datagrams at most: the longest IP packet, and as many headers as can be."""


class _Pending:
    __slots__ = ("missing", "parts", "size")

    def __init__(self, count: int) -> None:
        self.parts: list[bytes | None] = [None] * count
        self.missing = count
        self.size = 0


class Reassembly:
    """Parts of records that are not complete, of all sessions.

    Nothing about a part is authentic. Whoever can read a path's datagrams can spoil its records,
    as he could by not letting them pass.

    :ivar lost: records given up since newer ones needed the room, or since parts contradicted.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._pending: OrderedDict[bytes, _Pending] = OrderedDict()

    def add(self, datagram: memoryview) -> tuple[memoryview, int] | None:
        """Keep a part.

        :param datagram: of a whole record of several parts.
        :returns: all the record's datagrams, one after the other, and the length of each but the
            last, if this was the last one missing.
        """
        position, count = datagram[1], datagram[2]
        key = bytes(datagram[2:HEADER_SIZE])
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = _Pending(count)
            if len(self._pending) > MAX_PENDING:
                self._pending.popitem(last=False)
                self.lost += 1
        if position >= count or pending.parts[position] is not None:
            return None
        pending.parts[position] = bytes(datagram)
        pending.missing -= 1
        pending.size += len(datagram)
        if pending.size > MAX_SIZE:
            del self._pending[key]
            self.lost += 1
        elif not pending.missing:
            del self._pending[key]
            whole = memoryview(bytearray().join(pending.parts))  # type: ignore[arg-type]
            step = len(pending.parts[0] or b"")
            if is_complete(whole, step):
                return whole, step
            self.lost += 1
        return None
