"""One delayed call for a machine that has one deadline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Timer:
    """Calls *expired* when the deadline it was last given has come.

    Setting an earlier deadline moves the call; setting a later one lets the earlier call happen and
    looks again then, so that a deadline which is put off with every packet costs nothing.
    """

    def __init__(self, reactor: Any, expired: Callable[[], None]) -> None:
        self._reactor = reactor
        self._expired = expired
        self._deadline: float | None = None
        self._call: Any = None

    def set(self, deadline: float | None) -> None:
        """The machine wants to be called at *deadline*, or not at all."""
        self._deadline = deadline
        if deadline is None:
            return
        if self._call is None or deadline < self._call.getTime():
            self.cancel()
            self._deadline = deadline
            delay = max(0.0, deadline - self._reactor.seconds())
            self._call = self._reactor.callLater(delay, self._look)

    def by(self, deadline: float) -> None:
        """The machine wants to be called at *deadline* at the latest."""
        if self._deadline is None or deadline < self._deadline:
            self.set(deadline)

    def cancel(self) -> None:
        """No call any more."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        self._deadline = None

    def _look(self) -> None:
        self._call = None
        deadline = self._deadline
        if deadline is None:
            return
        if self._reactor.seconds() < deadline:
            self.set(deadline)
        else:
            self._expired()
