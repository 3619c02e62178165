"""Several attempts at the same thing, started one after another; the first success ends it."""

# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Race(Generic[T]):
    """As RFC 8305 does with addresses: the next attempt starts when the last one has failed, or has
    had a head start.

    :param attempts: in the order of preference; each returns a Deferred that can be cancelled.
    :param head_start: seconds.

    :ivar result: fires with the first success, or with the failure of the first attempt if all
        fail; cancelling it cancels the attempts.
    """

    def __init__(
        self, reactor: Any, attempts: Sequence[Callable[[], Deferred[T]]], head_start: float
    ) -> None:
        self.result: Deferred[T] = Deferred(lambda _: self._stop())
        self._reactor = reactor
        self._waiting = list(attempts)
        self._running: list[Deferred[T]] = []
        self._head_start = head_start
        self._first_failure: Failure | None = None
        self._call: Any = None
        self._over = False
        self._next()

    def _next(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if self._over or not self._waiting:
            return
        attempt = self._waiting.pop(0)
        if self._waiting:
            self._call = self._reactor.callLater(self._head_start, self._next)
        running = attempt()
        self._running.append(running)
        running.addCallbacks(self._won, self._lost, callbackArgs=(running,), errbackArgs=(running,))

    def _won(self, value: T, running: Deferred[T]) -> None:
        self._running.remove(running)
        if self._over:
            return
        self._stop()
        self.result.callback(value)

    def _lost(self, failure: Failure, running: Deferred[T]) -> None:
        self._running.remove(running)
        if self._over:
            return
        if self._first_failure is None and not failure.check(CancelledError):
            self._first_failure = failure
        if self._waiting:
            self._next()
        elif not self._running:
            self._over = True
            self.result.errback(self._first_failure or failure)

    def _stop(self) -> None:
        self._over = True
        if self._call is not None and self._call.active():
            self._call.cancel()
        for running in list(self._running):
            running.cancel()
