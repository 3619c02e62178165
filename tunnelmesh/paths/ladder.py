"""The ways to one remote peer, and which of them to use now.

The relay is there at once and is the lowest rung; direct paths are proven before they are climbed;
a rung that breaks is left for the next one down, and while it is only suspected, datagrams go both
ways: the receiver's replay window drops the second copy.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

from tunnelmesh.paths import selection
from tunnelmesh.paths.health import DEAD_PATIENCE, Health, State
from tunnelmesh.paths.keepalive import Keepalive
from tunnelmesh.paths.path_mtu import PathMtu
from tunnelmesh.paths.selection import RELAY, Way

MAX_WAYS = 12
"""Ways known at a time: the relay, and as many endpoints as two hosts with several addresses have.
A peer that shows ever new addresses pushes out its own worst ones."""


class SendPing(NamedTuple):
    """Send a ping of *size* bytes in all, at least, by this way."""

    way: Way
    token: int
    size: int


class Switched(NamedTuple):
    """Another way is in use now.

    :ivar failed_since: since when traffic had gone unanswered, if the old way failed under traffic.
    """

    before: Way | None
    after: Way | None
    cause: str
    failed_since: float | None


class Narrowed(NamedTuple):
    """The way in use does not carry as long datagrams as it did: a black hole for them.

    :ivar before: bytes of the longest before; *after*: from now on.
    """

    way: Way
    before: int
    after: int


class Ladder:
    """The ways to one remote peer.

    :param tokens: gives a number never given before, for pings.
    :param full_size: bytes of the largest datagram that traffic will send.

    :ivar current: the way in use, or None.
    :ivar doubled: whether to send by the relay as well, since the way in use is in doubt.
    """

    def __init__(self, tokens: Callable[[], int], full_size: int) -> None:
        self.ways: dict[Way, Health] = {}
        self.current: Way | None = None
        self.doubled = False
        self._tokens = tokens
        self._full_size = full_size
        self._keepalives: dict[str, Keepalive] = {}

    @property
    def health(self) -> Health | None:
        """The health of the way in use."""
        return None if self.current is None else self.ways[self.current]

    @property
    def datagram(self) -> int | None:
        """Bytes of the longest datagram that the way in use carries; None if any."""
        health = self.health
        return None if health is None or health.mtu is None else health.mtu.size

    @property
    def is_direct(self) -> bool:
        """Whether a direct path is in use."""
        return self.current is not None and self.current != RELAY

    @property
    def is_best(self) -> bool:
        """Whether the path in use is of the best kind that there is."""
        return self.current is not None and selection.rank(self.current) == selection.BEST

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`expire`."""
        soonest = min((health.deadline for health in self.ways.values()), default=inf)
        return None if soonest == inf else soonest

    def relay_opened(self, now: float) -> list[Switched]:
        """The remote peer can be reached through the coordinator."""
        if RELAY not in self.ways:
            self.ways[RELAY] = Health(now, self._tokens, trusted=True)
        return self._choose(now, "the relay is open")

    def relay_closed(self, now: float, cause: str) -> list[Switched]:
        """It cannot any more."""
        return self._remove(RELAY, now, cause)

    def found(self, way: Way, now: float, rtt: float) -> None:
        """A probe to an endpoint was answered after *rtt* seconds: prove the path."""
        health = self.ways.get(way)
        if health is None:
            self._make_room()
            keepalive = self._keepalive(way)
            mtu = None
            if not selection.is_stream(way):
                mtu = PathMtu(now, self._tokens, self._full_size)
            health = self.ways[way] = Health(now, self._tokens, mtu, keepalive=keepalive)
            health.rtt = rtt
        elif health.state is State.DEAD:
            health.deadline = now

    def sent(self, now: float, size: int) -> None:
        """Data went out by the way in use, in datagrams of up to *size* bytes."""
        if self.current is not None:
            self.ways[self.current].sent(now, size)

    def heard(self, way: Way, now: float) -> list[Switched]:
        """Something authentic came in by *way*."""
        health = self.ways.get(way)
        if health is None:
            return []
        doubtful = health.state is not State.GOOD
        health.heard(now)
        return self._choose(now, "heard again") if doubtful else []

    def ponged(self, way: Way, token: int, now: float) -> tuple[bool, list[Switched]]:
        """A pong came in by *way*.

        :returns: whether it answers a ping sent that way, and what follows.
        """
        health = self.ways.get(way)
        if health is None or not health.ponged(token, now):
            return False, []
        return True, self._choose(now, "a better path is proven")

    def lost(self, way: Way, now: float, cause: str) -> list[Switched]:
        """The transport below a way is gone."""
        return self._remove(way, now, cause)

    def doubt(self, now: float) -> None:
        """This machine's network changed: check every way at once."""
        self._keepalives.clear()
        for health in self.ways.values():
            health.doubt(now)

    def expire(self, now: float) -> list[SendPing | Narrowed | Switched]:
        """Time has come for some of the ways."""
        outputs: list[SendPing | Narrowed | Switched] = []
        for way, health in list(self.ways.items()):
            if now < health.deadline:
                continue
            before = self.datagram
            outputs += [SendPing(way, ping.token, ping.size) for ping in health.expire(now)]
            after = self.datagram
            if before is not None and after is not None and after < before:
                outputs.append(Narrowed(way, before, after))
            died_at = health.died_at
            if way != RELAY and died_at is not None and now - died_at > DEAD_PATIENCE:
                del self.ways[way]
        return outputs + self._choose(now, "the path stopped answering")

    def _keepalive(self, way: Way) -> Keepalive:
        """What is known of the lifetime of mappings towards an address, whatever the port.

        A NAT that forgets a mapping gives out another port: the same way never comes back.
        """
        remote = selection.remote_of(way)
        host = "" if remote is None else remote.host
        if len(self._keepalives) >= MAX_WAYS:
            del self._keepalives[next(iter(self._keepalives))]
        return self._keepalives.setdefault(host, Keepalive())

    def _make_room(self) -> None:
        if len(self.ways) < MAX_WAYS:
            return
        spare = [way for way in self.ways if way not in (RELAY, self.current)]
        del self.ways[min(spare, key=lambda way: self.ways[way].heard_at)]

    def _remove(self, way: Way, now: float, cause: str) -> list[Switched]:
        health = self.ways.pop(way, None)
        if health is None:
            return []
        return self._choose(now, cause, health)

    def _choose(self, now: float, cause: str, removed: Health | None = None) -> list[Switched]:
        """Take the best way there is.

        :param removed: the health of a way that is no more.
        """
        before = self.current
        present = None if before is None else self.ways.get(before)
        best: Way | None = None
        if before is not None and present is not None and selection.usable(before, present, before):
            best = before
        for way, health in self.ways.items():
            if way != best and selection.usable(way, health, before):
                challenger = (way, health)
                if best is None or selection.better(challenger, (best, self.ways[best])):
                    best = way
        if best is None and RELAY in self.ways:
            best = RELAY  # in doubt, but nothing else is left
        in_use = None if best is None else self.ways[best]
        doubtful = in_use is not None and in_use.state is State.SUSPECT
        self.doubled = doubtful and best != RELAY and RELAY in self.ways
        if best == before:
            return []
        failed = removed if present is None else present
        if before is None or (present is not None and present.state is State.GOOD):
            failed = None
        self.current = best
        since = None if failed is None else failed.unanswered_since
        return [Switched(before, best, cause, since)]
