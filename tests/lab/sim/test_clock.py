"""The simulation's clock."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tunnelmesh.lab.sim.clock import CANCELLED_MAX, EPOCH, Clock, Sleeper


class ClockTests(SynchronousTestCase):
    """Calls run at the time that they asked for, in order."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ran: list[tuple[str, float]] = []

    def note(self, name: str) -> None:
        """Remember when this was called."""
        self.ran.append((name, round(self.clock.elapsed, 3)))

    def test_interface(self) -> None:
        """It provides IReactorTime."""
        self.assertTrue(verifyObject(IReactorTime, self.clock))

    def test_stops_at_each_deadline(self) -> None:
        """Every call sees its own time, though the clock is advanced past them all at once."""
        self.clock.callLater(2, self.note, "b")
        self.clock.callLater(1, self.note, "a")
        self.clock.advance(10)
        self.assertEqual(self.ran, [("a", 1.0), ("b", 2.0)])
        self.assertEqual(self.clock.seconds(), EPOCH + 10)

    def test_same_time(self) -> None:
        """Calls for the same moment run in the order in which they were made."""
        for name in "abc":
            self.clock.callLater(1, self.note, name)
        self.clock.advance(1)
        self.assertEqual([name for name, _ in self.ran], ["a", "b", "c"])

    def test_cancel_reset_and_delay(self) -> None:
        """Delayed calls can be cancelled, moved either way, and know whether they are active."""
        cancelled = self.clock.callLater(1, self.note, "cancelled")
        earlier = self.clock.callLater(5, self.note, "earlier")
        later = self.clock.callLater(1, self.note, "later")
        cancelled.cancel()
        earlier.reset(2)
        later.delay(3)
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)
        self.clock.advance(10)
        self.assertEqual(self.ran, [("earlier", 2.0), ("later", 4.0)])
        self.assertFalse(earlier.active())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled_calls_are_swept(self) -> None:
        """A timer that is armed and cancelled for ever does not fill the memory."""
        for _ in range(20 * CANCELLED_MAX):
            self.clock.callLater(3600, self.note, "never").cancel()
        self.assertLess(len(self.clock._due), 3 * CANCELLED_MAX)

    def test_past(self) -> None:
        """A negative delay is an error, as with a real reactor."""
        self.assertRaises(ValueError, self.clock.callLater, -1, self.note, "never")

    def test_sleeper(self) -> None:
        """A sleeper's calls wait until it wakes; others' do not."""
        sleeper = Sleeper()
        sleeper.wakes = EPOCH + 5
        self.clock.call_for(sleeper, 1, self.note, ("sleeper",), {})
        self.clock.callLater(1, self.note, "other")
        self.clock.advance(10)
        self.assertEqual(self.ran, [("other", 1.0), ("sleeper", 5.0)])

    @settings(derandomize=True, max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100))))
    def test_any_resets(self, calls: list[tuple[float, float]]) -> None:
        """However calls are reset, each runs once, at the time of its last reset."""
        clock = Clock()
        ran: list[tuple[int, float]] = []
        for number, (first, second) in enumerate(calls):
            call = clock.callLater(first, lambda n: ran.append((n, clock.seconds())), number)
            call.reset(second)
        clock.advance(101)
        expected = {n: EPOCH + second for n, (_, second) in enumerate(calls)}
        self.assertEqual(len(ran), len(expected))
        for number, when in ran:
            self.assertAlmostEqual(when, expected[number], places=5)
        self.assertEqual([when for _, when in ran], sorted(when for _, when in ran))
