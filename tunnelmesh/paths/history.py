"""The flight recorder: every change of path, with its cause and what it cost."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

CAPACITY = 200
"""Changes kept per remote peer: days of an ordinary laptop, an hour of a very restless one."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the way to a remote peer.

    :ivar at: when, in the clock's seconds.
    :ivar before: what carried before, as text for people (``udp 192.0.2.7:4242``), or ``none``.
    :ivar cause: in words.
    :ivar outage: seconds between the last sign of life before and the first after, 0.0 for a switch
        made before the old way broke; None while nothing was heard since.
    """

    at: float
    before: str
    after: str
    cause: str
    outage: float | None


class History:
    """The last changes of one remote peer's path, oldest first."""

    def __init__(self) -> None:
        self._changes: deque[Change] = deque(maxlen=CAPACITY)
        self._silent_since: float | None = None

    def record(
        self, now: float, before: str, after: str, cause: str, silent_since: float | None
    ) -> None:
        """The way changed.

        :param silent_since: when the remote peer was last heard, if the old way was failing.
        """
        outage = 0.0 if silent_since is None else None
        self._changes.append(Change(now, before, after, cause, outage))
        if silent_since is not None:
            self._silent_since = silent_since

    def heard(self, now: float) -> None:
        """The remote peer was heard: whatever outage there was is over."""
        if self._silent_since is None:
            return
        outage = max(0.0, now - self._silent_since)
        self._silent_since = None
        for at in range(len(self._changes) - 1, -1, -1):
            if self._changes[at].outage is None:
                self._changes[at] = replace(self._changes[at], outage=outage)

    @property
    def changes(self) -> tuple[Change, ...]:
        """All that is remembered, oldest first."""
        return tuple(self._changes)
