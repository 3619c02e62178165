"""Tests for :mod:`tunnelmesh.peer.link.race`."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import LinkError
from tunnelmesh.peer.link.race import Race


class RaceTests(SynchronousTestCase):
    """Three attempts, each with a second's head start."""

    def setUp(self) -> None:
        """The first is under way."""
        self.clock = Clock()
        self.begun: list[int] = []
        self.attempts: list[Deferred[str]] = [Deferred() for _ in range(3)]
        for attempt in self.attempts:
            attempt.addErrback(lambda failure: failure)

        def begin(number: int) -> Deferred[str]:
            self.begun.append(number)
            return self.attempts[number]

        self.race = Race(self.clock, [lambda n=n: begin(n) for n in range(3)], 1.0)

    def test_head_start(self) -> None:
        """The next begins when the one before has had its time, or has failed."""
        self.assertEqual(self.begun, [0])
        self.clock.advance(1)
        self.assertEqual(self.begun, [0, 1])
        self.attempts[0].errback(LinkError("no"))
        self.assertEqual(self.begun, [0, 1, 2])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_first_success_ends_it(self) -> None:
        """The others are cancelled, and those that wait never begin."""
        self.clock.advance(1)
        self.attempts[1].callback("second")
        self.assertEqual(self.successResultOf(self.race.result), "second")
        self.clock.advance(10)
        self.assertEqual(self.begun, [0, 1])
        self.assertTrue(self.attempts[0].called)

    def test_all_fail(self) -> None:
        """The result is the failure of the first to fail, which was the preferred way."""
        for attempt, words in zip(self.attempts, ("one", "two", "three"), strict=True):
            attempt.errback(LinkError(words))
        self.assertEqual(str(self.failureResultOf(self.race.result, LinkError).value), "one")

    def test_cancel(self) -> None:
        """Cancelling the race cancels every attempt and leaves no timer."""
        self.clock.advance(1)
        self.race.result.cancel()
        self.failureResultOf(self.race.result, CancelledError)
        self.assertTrue(self.attempts[0].called)
        self.assertTrue(self.attempts[1].called)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.begun, [0, 1])

    def test_immediate_success(self) -> None:
        """An attempt that succeeds at once is enough."""
        done: Deferred[str] = Deferred()
        done.callback("at once")
        race = Race(self.clock, [lambda: done, self.fail], 1.0)
        self.assertEqual(self.successResultOf(race.result), "at once")
