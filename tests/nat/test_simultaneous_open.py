"""Tests for :mod:`tunnelmesh.nat.simultaneous_open`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.nat.simultaneous_open import PATIENCE, ROUNDS, SimultaneousOpen

START = 10.0


class SimultaneousOpenTests(SynchronousTestCase):
    """One side of it."""

    def play(self, refusing: bool) -> list[float]:
        """When it connects, called whenever it wants, to who refuses or stays silent."""
        attempt = SimultaneousOpen(START)
        connected = []
        while attempt.deadline is not None:
            now = attempt.deadline
            if attempt.expire(now):
                connected.append(round(now - START, 6))
                if refusing:
                    attempt.failed()
        return connected

    def test_silence(self) -> None:
        """One connection is enough where nothing answers: the kernel repeats its SYN."""
        self.assertEqual(self.play(refusing=False), [0.0])

    def test_refused(self) -> None:
        """What is refused is tried again at each round, and not between them."""
        self.assertEqual(self.play(refusing=True), list(ROUNDS))

    def test_too_early(self) -> None:
        """Nothing begins before its time."""
        attempt = SimultaneousOpen(START)
        self.assertFalse(attempt.expire(START - 0.001))
        self.assertEqual(attempt.deadline, START)

    def test_late(self) -> None:
        """Rounds that were missed are not made up for."""
        attempt = SimultaneousOpen(START)
        self.assertTrue(attempt.expire(START + 0.5))
        attempt.failed()
        self.assertEqual(attempt.deadline, START + 0.7)
        self.assertFalse(attempt.expire(START + PATIENCE))
        self.assertIsNone(attempt.deadline)

    def test_stop(self) -> None:
        """After a stop nothing more happens."""
        attempt = SimultaneousOpen(START)
        attempt.stop()
        self.assertFalse(attempt.expire(START))
        self.assertIsNone(attempt.deadline)

    @given(st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=40))
    @settings(max_examples=100, derandomize=True)
    def test_few(self, steps: list[tuple[float, bool]]) -> None:
        """Whatever happens, and whenever it is called, connections are few, and it ends."""
        attempt = SimultaneousOpen(START)
        now = START
        for pause, fails in steps:
            now += pause
            attempt.expire(now)
            if fails:
                attempt.failed()
        self.assertLessEqual(attempt.connects, len(ROUNDS))
        attempt.expire(START + PATIENCE + now)
        self.assertIsNone(attempt.deadline)
