"""When to try for a direct path again while traffic is relayed.

Often while somebody is using the pair, since the world changes without telling; rarely while nobody
is; at once on any hint of change. A pair whose NATs are known not to allow it is tried seldom.
"""

from __future__ import annotations

from random import Random

ACTIVE = (1.0, 2.0, 3.0)
"""Seconds between attempts under traffic; the last repeats. Three, so that a path that becomes
possible unannounced is found well within five seconds."""

IDLE_FIRST = 6.0
IDLE_FACTOR = 2.0
IDLE_LONGEST = 300.0
"""Seconds between attempts without traffic: doubling up to five minutes."""

HOPELESS_ACTIVE = 30.0
"""Seconds between attempts under traffic where the NATs' behaviour speaks against it: behaviours
are sometimes measured wrongly, and routers do get replaced."""

IN_USE = 20.0
"""Seconds after the last traffic during which a pair counts as used."""

JITTER = 0.1
"""Each delay varies by this part, so that many peers do not ask in step."""

SETTLE = 0.05
"""Seconds after a hint: one change of network often shows as several events."""


class Retry:
    """The schedule of one remote peer.

    :ivar deadline: when to make the next attempt.
    """

    def __init__(self, now: float, random: Random) -> None:
        self.deadline = now
        self._random = random
        self._attempts = 0
        self._used_at = now
        self._tried_at: float | None = None
        self._hinted = False

    def used(self, now: float) -> None:
        """Traffic passes."""
        if now - self._used_at > IN_USE:
            self._attempts = 0
            if self._tried_at is not None:
                self.deadline = min(self.deadline, self._tried_at + ACTIVE[-1])
        self._used_at = now

    def hint(self, now: float) -> None:
        """Something changed: the old delays mean nothing now."""
        self._attempts = 0
        self._hinted = True
        self.deadline = min(self.deadline, now + SETTLE)

    def met(self, now: float, hopeful: bool) -> None:
        """An attempt starts, whoever asked for it; what was hinted since is not known in it yet."""
        if not self._hinted:
            self.tried(now, hopeful)

    def tried(self, now: float, hopeful: bool) -> None:
        """An attempt starts, by one's own wish.

        :param hopeful: whether the two NATs' behaviours allow a direct path.
        """
        in_use = now - self._used_at <= IN_USE
        if in_use and hopeful:
            delay = ACTIVE[min(self._attempts, len(ACTIVE) - 1)]
        else:
            first = IDLE_FIRST if hopeful else HOPELESS_ACTIVE
            growth = IDLE_FACTOR ** min(self._attempts, 16)
            delay = first if in_use else min(first * growth, IDLE_LONGEST)
        self._attempts += 1
        self._hinted = False
        self._tried_at = now
        self.deadline = now + delay * (1 + self._random.uniform(-JITTER, JITTER))
