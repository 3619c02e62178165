"""How long datagrams a path carries, found out by sending some (RFC 8899, DPLPMTUD).

Nothing else is believed: the routers' own word for it (ICMP) is often filtered, and anybody could
forge it. A size counts as lost when its pings stay unanswered while short ones, sent at the same
moments, come back; so a bad minute of the path as a whole says nothing about sizes.

::

               full size answered
    search ----------------------------> full: checked as its traffic is
      ^  |                                 |
      |  | full size lost: halve           | the size is lost, short ones are not:
      |  | what is left                    | a black hole; go on with BASE at once
      |  v                                 |
      | settled in between <-- search <----+
      +-- every ten minutes, and on a change of network
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

BASE = 1200
"""Bytes of a datagram that every path is to carry, as of QUIC's (RFC 9000, 14.1): with UDP and IPv6
headers it fits the 1280 bytes of IPv6's smallest link."""

STEP = 16
"""Sizes between the base and the full size are multiples of it: WireGuard pads packets to that."""

TRIES = 4
"""Pings of a size lost, one after the other, while short ones pass, that make it too long: chance
does that once in a hundred thousand times at 5 % loss. It is half a second on a short path."""

RAISE = 600.0
"""Seconds after which a longer size is tried (RFC 8899, 5.1.1: PMTU_RAISE_TIMER)."""


class Ping(NamedTuple):
    """Send a ping of *size* bytes in all, with this token."""

    token: int
    size: int


class PathMtu:
    """One path's largest datagram.

    :param tokens: gives a number never given before.
    :param full_size: bytes of the largest datagram that traffic will ever send.

    :ivar size: bytes of the largest datagram that the path carries, as far as is known.
    :ivar deadline: when to call :meth:`expire`; infinite if nothing is to be expected.
    """

    def __init__(self, now: float, tokens: Callable[[], int], full_size: int) -> None:
        self.size = BASE
        self.deadline = now
        self._tokens = tokens
        self._full_size = full_size
        self._awaited: set[int] = set()
        self._tried: int | None = None
        self._lost = 0
        self._sent_at = self._passed_at = -inf
        self._search_at = inf
        self._search(now)

    @property
    def settled(self) -> bool:
        """Whether no longer size is being tried at the moment."""
        return self._tried is None or self._tried == self.size

    @property
    def checking(self) -> bool:
        """Whether it is in doubt that the path still carries the size in use."""
        return self._tried == self.size

    def restart(self, now: float) -> None:
        """Nothing is known of the path any more: try the full size."""
        self.size = BASE
        self._search(now)

    def rise(self, now: float) -> None:
        """The network changed: the path may be wider now."""
        if self.size < self._full_size and self._tried is None:
            self._search(now)

    def doubt(self, now: float) -> None:
        """A long ping stayed unanswered: see whether that was for its length."""
        if self.size > BASE and self._tried is None:
            self._try(self.size, now)

    def passed(self, size: int, sent_at: float) -> None:
        """An ordinary ping, of that size and sent then, has come back."""
        if self._tried is not None and size < self._tried:
            self._passed_at = max(self._passed_at, sent_at)

    def ponged(self, token: int, now: float) -> bool:
        """A pong came in.

        :returns: whether it answers a ping of a size that is being tried.
        """
        if token not in self._awaited or self._tried is None:
            return False
        if self.checking:
            self._rest()
        else:
            self.size = self._tried
            self._narrow(now)
        return True

    def expire(self, now: float, patience: float) -> list[Ping]:
        """Time has come.

        :param patience: seconds within which an answer is due.
        :returns: what to send, with a short ping right behind each.
        """
        if now < self.deadline:
            return []
        if self._tried is None:
            self._search(now)
        elif self._awaited and self._passed_at >= self._sent_at:
            self._lost += 1
            if self._lost >= TRIES:
                self._too_long(now)
        if self._tried is None:
            return []
        ping = Ping(self._tokens(), self._tried)
        if len(self._awaited) > TRIES:
            self._awaited.clear()  # a path that answers nothing: all of them are old
        self._awaited.add(ping.token)
        self._sent_at = now
        self.deadline = now + patience
        return [ping]

    def _search(self, now: float) -> None:
        """Find the size anew; what is in use stays until something longer has passed."""
        self._ceiling = self._full_size + 1
        self._try(self._full_size, now)

    def _try(self, size: int, now: float) -> None:
        self._tried = size
        self._lost = 0
        self._awaited.clear()
        self.deadline = now

    def _rest(self) -> None:
        self._tried = None
        self._awaited.clear()
        self.deadline = self._search_at

    def _too_long(self, now: float) -> None:
        """The size that was tried does not pass."""
        assert self._tried is not None
        if self.checking:
            self.size = BASE
        self._ceiling = self._tried
        self._narrow(now)

    def _narrow(self, now: float) -> None:
        """Try the middle of what passes and what does not, if there is something between."""
        middle = max((self.size + self._ceiling) // 2, self.size + STEP) // STEP * STEP
        if self.size < self._full_size and middle < self._ceiling:
            self._try(middle, now)
        else:
            self._search_at = inf if self.size >= self._full_size else now + RAISE
            self._rest()
