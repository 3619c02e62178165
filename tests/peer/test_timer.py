"""Tests for :mod:`tunnelmesh.peer.timer`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.peer.timer import Timer


class TimerTests(SynchronousTestCase):
    """One delayed call that follows a deadline."""

    def setUp(self) -> None:
        """Nothing is due."""
        self.clock = Clock()
        self.expired: list[float] = []
        self.timer = Timer(self.clock, lambda: self.expired.append(self.clock.seconds()))

    def test_deadline(self) -> None:
        """It calls once, when the deadline comes."""
        self.timer.set(2.0)
        self.clock.pump([1.0] * 5)
        self.assertEqual(self.expired, [2.0])

    def test_put_off(self) -> None:
        """A deadline that is put off all the time costs no further calls."""
        for _ in range(5):
            self.timer.set(self.clock.seconds() + 2.0)
            self.clock.advance(1.0)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1.0)
        self.assertEqual(self.expired, [6.0])

    def test_earlier(self) -> None:
        """An earlier deadline moves the call."""
        self.timer.set(9.0)
        self.timer.set(1.0)
        self.clock.advance(1.0)
        self.assertEqual(self.expired, [1.0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_past(self) -> None:
        """A deadline that has passed is due at once, not in the past."""
        self.clock.advance(5.0)
        self.timer.set(1.0)
        self.clock.advance(0)
        self.assertEqual(self.expired, [5.0])

    def test_none_and_cancel(self) -> None:
        """Without a deadline nothing is called; a cancelled timer leaves nothing behind."""
        self.timer.set(1.0)
        self.timer.set(None)
        self.clock.advance(2.0)
        self.timer.set(5.0)
        self.timer.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.expired, [])
