"""Token buckets: how often somebody may do something."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class TokenBuckets:
    """A bucket for each of whoever asks, in bounded memory.

    A bucket begins full. When too many are kept, the one that has rested longest is forgotten,
    which fills it again: a flood from many addresses costs the limit its memory, not ours.

    :param burst: tokens in a full bucket.
    :param interval: seconds in which one token comes back.
    :param most: how many buckets are kept.
    """

    def __init__(self, burst: int, interval: float, most: int) -> None:
        self._burst = burst
        self._interval = interval
        self._most = most
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def left(self, who: Hashable, now: float) -> float:
        """Tokens that *who* has."""
        tokens, since = self._buckets.get(who, (float(self._burst), now))
        return min(float(self._burst), tokens + (now - since) / self._interval)

    def take(self, who: Hashable, now: float) -> bool:
        """Take a token, if there is a whole one."""
        tokens = self.left(who, now)
        taken = tokens >= 1
        self._buckets[who] = (tokens - taken, now)
        self._buckets.move_to_end(who)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return taken
