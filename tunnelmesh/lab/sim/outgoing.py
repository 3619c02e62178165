"""The bytes that a TCP connection has to send, until they are acknowledged."""

from __future__ import annotations

#: Bytes that wait to be sent or acknowledged, at most.
SEND_BUFFER = 256 * 1024


class Outgoing:
    """Bytes with their numbers.

    :ivar finished: no more will be added: the number after the last byte is the FIN's.

    :param start: the number of the first byte.
    """

    def __init__(self, start: int) -> None:
        self.finished = False
        self._start = start
        self._bytes = bytearray()

    @property
    def end(self) -> int:
        """The number after the last byte."""
        return self._start + len(self._bytes)

    @property
    def room(self) -> int:
        """Bytes that :meth:`add` takes now."""
        return 0 if self.finished else max(0, SEND_BUFFER - len(self._bytes))

    def add(self, data: bytes | memoryview) -> int:
        """Take bytes, as many as there is room for.

        :returns: how many.
        """
        taken = data[: self.room]
        self._bytes += taken
        return len(taken)

    def acknowledge(self, number: int) -> None:
        """Everything before *number* has arrived."""
        gone = max(0, min(number - self._start, len(self._bytes)))
        del self._bytes[:gone]
        self._start += gone

    def cut(self, start: int, length: int) -> tuple[bytes, bool]:
        """*length* numbers from *start* on: the bytes, and whether the FIN is among them."""
        offset = start - self._start
        data = bytes(self._bytes[offset : offset + length])
        return data, self.finished and start + length > self.end

    def clear(self) -> None:
        """Forget the bytes."""
        self._bytes.clear()
