"""Token buckets."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.noise.load import (
    PLACE_BURST,
    PLACE_HANDSHAKES,
    PLACES,
    SWEEP_INTERVAL,
    PlaceLimit,
    TokenBucket,
)


class TokenBucketTests(SynchronousTestCase):
    """How often something may happen."""

    def test_burst_then_rate(self) -> None:
        """A burst passes at once; after it, so many a second."""
        bucket = TokenBucket(rate=10, burst=3)
        self.assertEqual([bucket.take(5) for _ in range(5)], [True, True, True, False, False])
        self.assertEqual([bucket.take(5.125), bucket.take(5.15)], [True, False])
        taken = sum(bucket.take(6 + n / 100) for n in range(1000))
        self.assertIn(taken, range(100, 104))

    def test_never_more_than_the_burst(self) -> None:
        """Being quiet for long saves nothing up beyond the burst."""
        bucket = TokenBucket(rate=10, burst=3)
        bucket.take(0)
        self.assertEqual(sum(bucket.take(1000) for _ in range(10)), 3)


class PlaceLimitTests(SynchronousTestCase):
    """A bucket for each place."""

    def test_each_place_for_itself(self) -> None:
        """One place's flood takes nothing from another."""
        limit = PlaceLimit()
        self.assertEqual(sum(limit.take(b"flood", 0) for _ in range(100)), PLACE_BURST)
        self.assertTrue(limit.take(b"quiet", 0))

    def test_bounded(self) -> None:
        """A limited number of places is remembered; quiet ones make room."""
        limit = PlaceLimit()
        taken = [limit.take(n.to_bytes(4, "big"), 0) for n in range(PLACES + 10)]
        self.assertEqual(taken.count(True), PLACES)
        self.assertFalse(limit.take(b"late", SWEEP_INTERVAL / 2))
        later = SWEEP_INTERVAL + PLACE_BURST / PLACE_HANDSHAKES
        self.assertTrue(limit.take(b"late", later))
