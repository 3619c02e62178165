"""The clock in initiations (TAI64N), by which a responder tells a new one from a replayed one."""

from __future__ import annotations

import struct
from collections.abc import Callable

_EPOCH = 2**62 + 10
"""TAI64's label of 1970-01-01 00:00:00 UTC: ten leap seconds had gone by."""

_LABEL = struct.Struct(">QI")


class RisingClock:
    """Labels that rise: with the wall clock, so also across a restart, and never less than one
    nanosecond a label, even while the wall clock stands or is set back.

    :param wall: seconds since 1970, UTC.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._last = 0

    def label(self) -> bytes:
        """The next label (12 bytes; later ones compare greater)."""
        self._last = max(self._last + 1, int(self._wall() * 1e9))
        seconds, nanoseconds = divmod(self._last, 10**9)
        return _LABEL.pack(_EPOCH + seconds, nanoseconds)
