"""How often somebody may do something."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.coordinator.buckets import TokenBuckets


class TokenBucketsTests(SynchronousTestCase):
    """A bucket for each of whoever asks."""

    def test_burst_then_rate(self) -> None:
        """A burst is allowed, and then one each interval."""
        buckets = TokenBuckets(burst=3, interval=10, most=9)
        taken = [buckets.take("a", now) for now in (0, 0, 0, 0, 9, 10, 10, 25)]
        self.assertEqual(taken, [True, True, True, False, False, True, False, True])

    def test_full_is_full(self) -> None:
        """Resting for long saves up no more than a burst."""
        buckets = TokenBuckets(burst=2, interval=1, most=9)
        buckets.take("a", 0)
        self.assertEqual(buckets.left("a", 1000), 2)

    def test_each_its_own(self) -> None:
        """One who asks too often does not harm another."""
        buckets = TokenBuckets(burst=1, interval=10, most=9)
        buckets.take("a", 0)
        self.assertFalse(buckets.take("a", 0))
        self.assertTrue(buckets.take("b", 0))

    def test_bounded(self) -> None:
        """However many ask, memory is bounded, and who asked last is remembered."""
        buckets = TokenBuckets(burst=1, interval=1000, most=10)
        for number in range(1000):
            buckets.take(number, 0)
        self.assertEqual(len(buckets), 10)
        self.assertFalse(buckets.take(999, 0))
