"""Notice by a router's own clock that it has restarted, and with that lost its mappings."""

from __future__ import annotations

SLACK = 2.0
"""Seconds that the two clocks may differ by, besides a sixteenth (RFC 6887 §8.5)."""


class Epoch:
    """What a router's answers say of how long it has been up."""

    def __init__(self) -> None:
        self._last: tuple[float, int] | None = None

    def restarted(self, epoch: int, now: float) -> bool:
        """Take an answer's epoch; tell whether the router has lost its state since the last one.

        The rule is that of RFC 6887 §8.5: time must pass for both alike, within a sixteenth.
        """
        last, self._last = self._last, (now, epoch)
        if last is None:
            return False
        ours, theirs = now - last[0], epoch - last[1]
        return ours + SLACK < theirs - theirs / 16 or theirs + SLACK < ours - ours / 16
