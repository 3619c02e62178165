"""The flight recorder: every change of path, with its cause and what it cost."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

CAPACITY = 200
"""Changes kept per remote peer: days of an ordinary laptop, an hour of a very restless one."""

SILENCE = 0.05
"""Seconds between two signs of life that count as a silence; less is ordinary traffic."""

SILENCES = 16
"""Silences remembered, to find among them the one that a change of path ended."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the way to a remote peer.

    :ivar at: when, in the clock's seconds.
    :ivar before: what carried before, as text for people (``udp 192.0.2.7:4242``), or ``none``.
    :ivar cause: in words.
    :ivar outage: seconds of the longest silence around the change while traffic waited, 0.0 for a
        switch made before the old way broke or while there was none; None until it is over.
    """

    at: float
    before: str
    after: str
    cause: str
    outage: float | None


class History:
    """The last changes of one remote peer's path, oldest first.

    :ivar recorded: changes in all, also those that are not kept any more.
    :ivar silent: seconds of outages in all that are over.
    """

    def __init__(self) -> None:
        self.recorded = 0
        self.silent = 0.0
        self._changes: deque[Change] = deque(maxlen=CAPACITY)
        self._silences: deque[tuple[float, float]] = deque(maxlen=SILENCES)
        self._heard_at: float | None = None
        self._since: float | None = None

    def record(
        self, now: float, before: str, after: str, cause: str, failed_since: float | None
    ) -> None:
        """The way changed.

        :param failed_since: since when traffic had gone unanswered on the old way; None if none
            had. The peer may have been heard by another way meanwhile.
        """
        outage: float | None = 0.0
        if failed_since is not None and self._heard_at is not None:
            past = [end - max(start, failed_since) for start, end in self._silences]
            outage = max([*past, 0.0])
            if now - max(self._heard_at, failed_since) > outage:
                outage, self._since = None, max(self._heard_at, failed_since)
        self.recorded += 1
        self.silent += outage or 0.0
        self._changes.append(Change(now, before, after, cause, outage))

    def heard(self, now: float) -> None:
        """The remote peer was heard, by whichever way: an outage that there was is over."""
        start, self._heard_at = self._heard_at, now
        if start is None:
            return
        if now - start > SILENCE:
            self._silences.append((start, now))
        if self._since is not None:
            for at, change in enumerate(self._changes):
                if change.outage is None:
                    self._changes[at] = replace(change, outage=now - self._since)
            self.silent += now - self._since
            self._since = None

    @property
    def changes(self) -> tuple[Change, ...]:
        """All that is remembered, oldest first."""
        return tuple(self._changes)
