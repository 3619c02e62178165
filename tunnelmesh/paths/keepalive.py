"""How often an idle path must be pinged so that no NAT on it forgets the mapping.

RFC 4787 REQ-5 wants two minutes of a NAT; many give thirty seconds, some more than two minutes. The
lifetime is learned on the path itself: a gap that a ping survives may grow, a gap after which the
path is found dead is never tried again on this network. Learning costs little, since a path found
dead is replaced by the relay within a fraction of a second and punched anew.
"""

from __future__ import annotations

FIRST = 25.0
"""Seconds: under the thirty that are the shortest common lifetime."""

GROWTH = 1.5
"""A survived gap grows by this factor."""

LONGEST = 100.0
"""Seconds: under the two minutes of RFC 4787 REQ-5 and of Linux, beyond which little is saved."""

SHORTEST = 8.0
"""Seconds: a mapping that lives shorter is no way to keep a path idle; pinging more often would
cost a phone its battery."""

MARGIN = 0.7
"""After a gap killed the mapping, stay below this part of it."""


class Keepalive:
    """What has been learned about one path's idle lifetime.

    :ivar interval: seconds of silence after which to ping.
    """

    def __init__(self) -> None:
        self.interval = FIRST
        self._ceiling = LONGEST

    def survived(self, gap: float) -> None:
        """A ping after *gap* seconds of silence was answered."""
        if gap >= self.interval * 0.9:
            self.interval = min(self.interval * GROWTH, self._ceiling)

    def failed(self, gap: float) -> None:
        """The path was dead after *gap* seconds of silence."""
        if gap >= SHORTEST:
            self._ceiling = max(SHORTEST, min(self._ceiling, gap * MARGIN))
            self.interval = min(self.interval, self._ceiling)
