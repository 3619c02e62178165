"""How much work strangers may cause: token buckets."""

from __future__ import annotations

LOAD_HANDSHAKES = 200.0
"""Handshake messages a second, and at once, that are worked on without asking for a cookie. One
costs about a quarter of a millisecond, so that these are a twentieth of a core."""

PLACE_HANDSHAKES = 20.0
"""Handshake messages a second that one place, its cookie shown, gets worked on under load."""

PLACE_BURST = 5.0
"""How many of those may come at once."""

PLACES = 4096
"""Places remembered at a time; beyond it, further places wait until one has been quiet."""

SWEEP_INTERVAL = 1.0
"""Seconds between two looks for quiet places, so that looking costs little, however many."""


class TokenBucket:
    """Lets *burst* things happen at once, and *rate* a second for long."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = float("-inf")

    def take(self, now: float) -> bool:
        """Let one thing happen, if it may."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def full(self, now: float) -> bool:
        """Whether nothing happened for so long that this bucket is as good as a new one."""
        self._fill(now)
        return self._tokens >= self._burst

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now


class PlaceLimit:
    """A bucket for each place, for as long as it matters."""

    def __init__(self) -> None:
        self._buckets: dict[bytes, TokenBucket] = {}
        self._swept = float("-inf")

    def take(self, place: bytes, now: float) -> bool:
        """Let *place* cause one handshake, if it may."""
        bucket = self._buckets.get(place)
        if bucket is None:
            self._forget_quiet(now)
            if len(self._buckets) >= PLACES:
                return False
            bucket = self._buckets[place] = TokenBucket(PLACE_HANDSHAKES, PLACE_BURST)
        return bucket.take(now)

    def _forget_quiet(self, now: float) -> None:
        if now - self._swept < SWEEP_INTERVAL:
            return
        self._swept = now
        self._buckets = {
            place: bucket for place, bucket in self._buckets.items() if not bucket.full(now)
        }
