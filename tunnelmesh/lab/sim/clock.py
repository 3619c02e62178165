"""Simulated time: one heap of what is due, and nothing happens in between."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

#: Where time begins, in seconds as ``time.time()`` counts them (2026-01-01T00:00:00Z): a plausible
#: date, so that certificates and log lines made inside the simulation look like real ones.
EPOCH = 1_767_225_600.0

#: How many cancelled calls may lie in the heap before it is worth a sweep.
CANCELLED_MAX = 256


class Sleeper:
    """Whose timers stand still for a while: a machine with its lid closed.

    :ivar wakes: the time, in seconds, before which none of its calls runs.
    """

    wakes = 0.0


@implementer(IReactorTime)
class Clock:
    """Time for every machine of a simulation.

    ``twisted.internet.task.Clock`` sorts its whole list at each call and jumps over deadlines in
    between; this one keeps a heap and stops at each deadline, so that a call sees the time that it
    asked for. Calls due at the same time run in the order in which they were made.
    """

    def __init__(self) -> None:
        self._now = EPOCH
        self._due: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = count()
        self._cancelled = 0

    def seconds(self) -> float:
        """The time now, in seconds; it begins at :data:`EPOCH`."""
        return self._now

    @property
    def elapsed(self) -> float:
        """Seconds since the simulation began."""
        return self._now - EPOCH

    def at(self, when: float, function: Callable[..., object], *args: Any) -> None:
        """Call *function* at *when*, for good: cheaper than :meth:`callLater`."""
        heappush(self._due, (when, next(self._order), function, args))

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> DelayedCall:
        """Call *callable* after *delay* seconds."""
        return self.call_for(None, delay, callable, args, kwargs)

    def call_for(
        self,
        owner: Sleeper | None,
        delay: float,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> DelayedCall:
        """Call *function* after *delay* seconds, but not while *owner* is asleep."""
        if delay < 0:
            raise ValueError(f"{delay} seconds from now is in the past")
        call = DelayedCall(
            self._now + delay, function, args, kwargs, self._cancel, self._arm, self.seconds
        )
        call.owner = owner  # type: ignore[attr-defined]
        self._arm(call)
        return call

    def _arm(self, call: DelayedCall) -> None:
        self.at(call.time, self._fire, call)

    def _cancel(self, call: DelayedCall) -> None:
        self._cancelled += 1
        if self._cancelled > CANCELLED_MAX and self._cancelled > len(self._due) // 2:
            self._due = [entry for entry in self._due if not self._is_void(entry)]
            heapify(self._due)
            self._cancelled = 0

    def _is_void(self, entry: tuple[float, int, Callable[..., object], tuple[Any, ...]]) -> bool:
        return entry[2] == self._fire and entry[3][0].cancelled

    def _fire(self, call: DelayedCall) -> None:
        # An entry is out of date if its call was cancelled, or reset to an earlier time, for which
        # there is another entry.
        if call.cancelled or call.called or call.time > self._now:
            return
        if call.delayed_time > 0:
            call.activate_delay()
            self._arm(call)
            return
        owner = call.owner  # type: ignore[attr-defined]
        if owner is not None and owner.wakes > self._now:
            self.at(owner.wakes, self._fire, call)
            return
        call.called = 1
        call.func(*call.args, **call.kw)

    def getDelayedCalls(self) -> list[DelayedCall]:
        """Every call that is still to be made."""
        calls = {
            id(entry[3][0]): entry[3][0]
            for entry in self._due
            if entry[2] == self._fire and entry[3][0].active()
        }
        return list(calls.values())

    def step(self, limit: float) -> bool:
        """Go to the next thing due and do it.

        :param limit: a time; where nothing is due before or at it, go there.
        :returns: False where nothing was due by *limit*.
        """
        if not self._due or self._due[0][0] > limit:
            self._now = max(self._now, limit)
            return False
        when, _, function, args = heappop(self._due)
        if when > self._now:
            self._now = when
        function(*args)
        return True

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass, stopping at each deadline."""
        limit = self._now + seconds
        while self.step(limit):
            pass
