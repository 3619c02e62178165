"""Tests for :mod:`tunnelmesh.paths.carriage`: whole records on clean paths only."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.paths.carriage import (
    CLEAN_SAMPLE,
    LASTED,
    PAUSE,
    SILENCE,
    SPOILT_LEAST,
    Carriage,
)

PARTS = 42
"""Datagrams of a full super-packet."""


class CarriageTests(SynchronousTestCase):
    """A sender, and a receiver that reports every 20 ms."""

    def setUp(self) -> None:
        self.carriage = Carriage()
        self.now = 100.0
        self.sealed = self.opened = 0
        self.random = Random(3)

    def flow(self, loss: float, seconds: float, per_report: int = 10) -> float:
        """Send super-packets for a while, each datagram lost with that probability.

        :returns: the part of the super-packets that went whole.
        """
        whole = total = 0
        end = self.now + seconds
        while self.now < end:
            for _ in range(per_report):
                total += 1
                if self.carriage.whole:
                    self.carriage.sent(self.now)
                    whole += 1
                    self.sealed += 1
                    self.opened += all(self.random.random() >= loss for _ in range(PARTS))
                else:
                    self.sealed += PARTS
                    self.opened += sum(self.random.random() >= loss for _ in range(PARTS))
            self.now += 0.02
            self.carriage.reported(self.sealed, self.opened, self.now)
        return whole / total

    def test_begins_with_segments(self) -> None:
        """Nothing is known of a new path."""
        self.assertFalse(self.carriage.whole)

    def test_clean(self) -> None:
        """A clean path carries whole records within a few thousand datagrams, for good."""
        self.flow(0, 0.02 * (CLEAN_SAMPLE / PARTS / 10 + 2))
        self.assertTrue(self.carriage.whole)
        self.assertEqual(self.flow(0, 60), 1)

    def test_lossy(self) -> None:
        """At 1 % loss whole records are not tried at all."""
        self.assertEqual(self.flow(0.01, 60), 0)

    def test_becomes_lossy(self) -> None:
        """What spoils a clean path is noticed within two reports, and stays noticed."""
        self.flow(0, 5)
        self.flow(0.01, 0.1)
        self.assertFalse(self.carriage.whole)
        self.assertEqual(self.flow(0.01, 30), 0)

    def test_heals(self) -> None:
        """A path that is clean again carries whole records again, soon."""
        self.flow(0, 5)
        self.flow(0.05, 5)
        self.flow(0, 2 * PAUSE + 0.5)
        self.assertTrue(self.carriage.whole)

    def test_black_hole(self) -> None:
        """Whole records of which nothing is heard are given up without a report."""
        self.flow(0, 5)
        start = self.now
        while self.carriage.whole:
            self.carriage.sent(self.now)
            self.now += 0.01
        self.assertLess(self.now - start, SILENCE + 0.05)

    def test_trying_costs_less_and_less(self) -> None:
        """A path that is clean for segments and bad for whole records is tried seldom."""
        tries = 0
        for _ in range(6000):
            before = self.carriage.whole
            self.sealed += 500
            self.opened += 500 if not before else 300
            self.now += 0.02
            self.carriage.reported(self.sealed, self.opened, self.now)
            tries += self.carriage.whole and not before
        self.assertLessEqual(tries, 12)

    def test_one_burst(self) -> None:
        """A few records lost at once do not decide."""
        self.flow(0, 5)
        self.sealed += SPOILT_LEAST - 1
        self.carriage.reported(self.sealed, self.opened, self.now)
        self.assertTrue(self.carriage.whole)

    def test_short_pause_after_long_use(self) -> None:
        """One bad moment in a long good time costs a quarter of a second."""
        self.flow(0, LASTED + 5)
        self.flow(0.2, 0.1)
        self.assertFalse(self.carriage.whole)
        self.flow(0, PAUSE + 0.3)
        self.assertTrue(self.carriage.whole)

    def test_new_session_counts_anew(self) -> None:
        """Counts that go back are a new session's, and nobody's loss."""
        self.flow(0, 5)
        self.carriage.reported(10, 10, self.now)
        self.carriage.reported(300, 300, self.now)
        self.assertTrue(self.carriage.whole)

    def test_moved(self) -> None:
        """Another path is judged anew."""
        self.flow(0, 5)
        self.carriage.moved()
        self.assertFalse(self.carriage.whole)

    def test_nonsense(self) -> None:
        """More opened than sealed, or nothing, does no harm."""
        for sealed, opened in [(0, 0), (0, 2**63), (2**63, 2**64 - 1), (2**64 - 1, 0), (1, 1)]:
            self.carriage.reported(sealed, opened, self.now)
