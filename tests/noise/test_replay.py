"""The replay window."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.noise.replay import LIMIT, WINDOW, ReplayWindow

_NEAR = st.integers(0, 3 * WINDOW)
_COUNTERS = st.lists(
    _NEAR
    | st.integers(0, 40)
    | _NEAR.map(lambda n: n % 7 + n // WINDOW * WINDOW)  # many that share a slot
    | st.integers(LIMIT - WINDOW, 2**64 - 1)
    | st.integers(0, 2**64 - 1),
    max_size=60,
)


class ReplayWindowTests(SynchronousTestCase):
    """No packet twice; none refused that is new and not too old."""

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(_COUNTERS)
    def test_against_a_set(self, counters: list[int]) -> None:
        """Compared with remembering everything."""
        window = ReplayWindow()
        seen: set[int] = set()
        for counter in [*counters, *counters]:
            accepted = window.accept(counter)
            if counter in seen or counter >= LIMIT:
                self.assertFalse(accepted, f"{counter} twice, or beyond the limit")
            elif counter > max(seen, default=-1) - WINDOW:
                self.assertTrue(accepted, f"{counter} is new and within the window")
            if accepted:
                seen.add(counter)

    def test_reordering_within_the_window(self) -> None:
        """A whole window that arrives backwards is taken, once."""
        window = ReplayWindow()
        counters = range(5 * WINDOW, 6 * WINDOW)
        self.assertTrue(all(window.accept(counter) for counter in reversed(counters)))
        self.assertFalse(any(window.accept(counter) for counter in counters))

    def test_older_than_the_window(self) -> None:
        """Once a slot is used again, what fell into it before is refused."""
        window = ReplayWindow()
        self.assertTrue(window.accept(WINDOW + 3))
        self.assertFalse(window.accept(3))

    def test_limit(self) -> None:
        """The last valid counter is taken, the one after it is not."""
        window = ReplayWindow()
        self.assertTrue(window.accept(LIMIT - 1))
        self.assertFalse(window.accept(LIMIT))
        self.assertFalse(window.accept(2**64 - 1))

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(st.lists(st.tuples(_NEAR | st.integers(LIMIT - 99, LIMIT), st.integers(1, 60))))
    def test_runs(self, runs: list[tuple[int, int]]) -> None:
        """Many counters at once are the same as one by one, or refused and left to be asked."""
        window, single = ReplayWindow(), ReplayWindow()
        for first, count in runs:
            counters = range(first, first + count)
            expected = [single.accept(counter) for counter in counters]
            if window.accept_run(first, count):
                self.assertTrue(all(expected))
            else:
                self.assertEqual([window.accept(counter) for counter in counters], expected)
            self.assertEqual(window.accepted, single.accepted)
            self.assertEqual(window.expected, single.expected)
            self.assertFalse(any(map(window.accept, counters)))

    def test_runs_in_a_row(self) -> None:
        """One run after the other is taken at once, but for where the window begins anew."""
        window = ReplayWindow()
        taken = 0
        for first in range(0, 44_000, 44):
            if window.accept_run(first, 44):
                taken += 1
            else:
                self.assertTrue(all(map(window.accept, range(first, first + 44))))
        self.assertGreater(taken, 990)
        self.assertEqual((window.accepted, window.expected), (44_000, 44_000))
