"""How long TCP waits before it sends again (RFC 6298)."""

from __future__ import annotations

#: Seconds before the first measurement (§2.1).
INITIAL = 1.0

#: Bounds in seconds. The lower one is Linux's: the RFC's one second would hide how soon a healed
#: path carries again.
SHORTEST = 0.2
LONGEST = 60.0


class Timeout:
    """The retransmission timeout of one connection.

    :ivar seconds: what it is now.
    """

    def __init__(self) -> None:
        self.seconds = INITIAL
        self._measured = INITIAL
        self._mean: float | None = None
        self._deviation = 0.0

    def measure(self, rtt: float) -> None:
        """A segment that was sent once was acknowledged after *rtt* seconds (§2)."""
        if self._mean is None:
            self._mean, self._deviation = rtt, rtt / 2
        else:
            self._deviation = 0.75 * self._deviation + 0.25 * abs(self._mean - rtt)
            self._mean = 0.875 * self._mean + 0.125 * rtt
        self._measured = min(max(self._mean + 4 * self._deviation, SHORTEST), LONGEST)

    def back_off(self) -> None:
        """Nothing came in time (§5.5)."""
        self.seconds = min(2 * self.seconds, LONGEST)

    def recover(self) -> None:
        """Something came: forget the backing off.

        The RFC keeps it until the next measurement, which only new data allow; Linux has
        timestamps, with which the next acknowledgement is one.
        """
        self.seconds = self._measured
