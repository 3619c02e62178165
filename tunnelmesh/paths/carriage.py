"""How super-packets go at the moment: sealed whole, or segment by segment.

Sealed whole, a super-packet costs a third of the work, but one lost datagram of its forty loses it
all: at 1 % loss every third is lost, and a TCP flow starves. So each pair begins with segments,
goes over to whole records once the path has shown to be clean, and back as soon as it is not. The
receiver tells how much has arrived; both counts are of sealed messages.
"""

from __future__ import annotations

CLEAN_SAMPLE = 2048
"""Segments within which loss is judged: 5 ms at 4 Gbit/s, and some seconds of a slow flow, which
has little to gain."""

CLEAN_LOSS = 0.0015
"""Part of the segments lost, up to which whole records are worth it: at that loss 6 % of the
records are lost, about as much as they are cheaper."""

SPOILT_SAMPLE = 256
"""Whole records within which loss is judged."""

SPOILT_LOSS = 0.08
SPOILT_LEAST = 4
"""Part of the whole records lost, and number, from which segments are better: what a datagram loss
of 0.2 % does. The number keeps one burst from deciding."""

SILENCE = 0.3
"""Seconds of sending whole records without a word on what has arrived, after which it is taken that
nothing has. Reports come fifty times a second, and need a round trip."""

PAUSE = 0.25
LONGEST_PAUSE = 60.0
"""Seconds to stay with segments at least; doubled each time that whole records soon fail again."""

LASTED = 10.0
"""Seconds of whole records after which the pause is short again."""


class Carriage:
    """The choice for one remote peer.

    :ivar whole: whether to seal super-packets whole.
    """

    def __init__(self) -> None:
        self.whole = False
        self._pause = PAUSE
        self._earliest = self._since = float("-inf")
        self._silent_since: float | None = None
        self._base: tuple[int, int] | None = None

    def sent(self, now: float) -> None:
        """A whole record goes out."""
        if self._silent_since is None:
            self._silent_since = now
        elif now - self._silent_since > SILENCE:
            self._spoilt(now)

    def reported(self, sealed: int, opened: int, now: float) -> None:
        """The receiver tells how many messages this side has sealed, and how many it opened."""
        self._silent_since = None
        if self._base is None or sealed < self._base[0] or opened < self._base[1]:
            self._base = sealed, opened  # a new session counts anew
            return
        sent = sealed - self._base[0]
        lost = sent - (opened - self._base[1])
        if self.whole:
            if lost >= SPOILT_LEAST and lost > SPOILT_LOSS * sent:
                self._spoilt(now)
            elif sent >= SPOILT_SAMPLE:
                self._base = sealed, opened
        elif sent >= CLEAN_SAMPLE:
            self._base = sealed, opened
            if lost <= CLEAN_LOSS * sent and now >= self._earliest:
                self.whole = True
                self._since = now

    def moved(self) -> None:
        """The path is another one: nothing is known of it."""
        self.__init__()  # type: ignore[misc]

    def _spoilt(self, now: float) -> None:
        lasted = now - self._since
        self._pause = PAUSE if lasted > LASTED else min(2 * self._pause, LONGEST_PAUSE)
        self._earliest = now + self._pause
        self.whole = False
        self._silent_since = None
        self._base = None
