"""A hard punch as one side fires it: many probes, from many sockets or to many ports, at a measured
pace, until one is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address, ip_network
from random import Random
from typing import NamedTuple

from tunnelmesh.nat import birthday
from tunnelmesh.nat.birthday import MOST_PROBES, MOST_SOCKETS
from tunnelmesh.nat.tactics import Approach
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import Tactic

MOST_PORTS = 64
"""Ports that a tactic may name; a window of prediction is narrower."""

PACE = 1000.0
"""Probes a second where they are few: openers, and windows of a sequence, of which all should leave
before others use the ports."""

SPREAD_PACE = 200.0
"""Probes a second to random ports: half of all birthday punches are over in a second, 99 in a
hundred in six; 14 kbyte a second, with one new entry in the sender's NAT for each."""

ROUNDS = (0.0, 0.1, 0.3, 0.7, 1.2)
"""Seconds after the start at which a window is fired at again: the first packets may be lost, or
die at the other NAT, whose side starts a few milliseconds later."""

OPENING_ROUNDS = (0.0, 4.0)
"""The same for the many sockets of a birthday punch: again once, in case the line was bad."""

AT_ONCE = 16
"""Probes that leave in one instant at most, however late the timer is."""

ANSWER_WAIT = 1.0
"""Seconds after the last probe during which answers still count."""

BIRTHDAY_TIME = MOST_PROBES / SPREAD_PACE + ANSWER_WAIT
"""Seconds that a birthday punch takes at most; so long its sockets wait."""


_NOBODY = tuple(
    map(
        ip_network,
        ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    )
)


def may_be_fired_at(host: str) -> bool:
    """Whether a stranger's word may have us send hundreds of packets to an address.

    Only to a public one: what is private is met by plain punching, or is a machine of ours.
    """
    address = ip_address(host)
    special = (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )
    return not special and not any(address in network for network in _NOBODY)


class Shot(NamedTuple):
    """Send a ping with this token.

    :ivar socket: the number of a fresh socket, opened when it first sends; None for the main one.
    """

    socket: int | None
    token: int
    to: Endpoint


class Volley:
    """One side of a hard punch, from its start until it has hit or its time is over.

    Whatever the tactic says, it is bounded: one address, :data:`MOST_PROBES` packets, and so much a
    second.

    :param tactic: what to do.
    :param host: the other side's external address.
    :param start: when to begin.
    :param tokens: gives a number never given before.

    :ivar probes: packets sent so far.
    :ivar hit: whether one was answered.
    """

    def __init__(
        self, tactic: Tactic, host: str, start: float, tokens: Callable[[], int], random: Random
    ) -> None:
        self.probes = 0
        self.hit = False
        self._tokens = tokens
        self._sent: dict[int, float] = {}
        drawn = not tactic.ports
        ports: Iterable[int] = tactic.ports[:MOST_PORTS]
        if drawn:
            ports = birthday.draw(tactic.low, tactic.high, random)
        sockets: Sequence[int | None] = range(min(tactic.sockets, MOST_SOCKETS)) or (None,)
        targets = [Endpoint(host, port) for port in ports if 0 < port < 65536]
        if tactic.sockets:
            del targets[1:]  # many sockets to many ports would never end
        self._aims = [(socket, to) for socket in sockets for to in targets]
        many = tactic.style == Approach.BIRTHDAY
        rounds = (0.0,) if drawn else OPENING_ROUNDS if many else ROUNDS
        pace = SPREAD_PACE if drawn else PACE
        self._due = [start + at + n / pace for at in rounds for n in range(len(self._aims))]
        del self._due[MOST_PROBES:]
        self._end = start + BIRTHDAY_TIME if many else max(self._due, default=start) + ANSWER_WAIT
        self._next = 0
        self._over = not self._aims

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`expire`, or None when it is over."""
        if self._over:
            return None
        return self._due[self._next] if self._next < len(self._due) else self._end

    def expire(self, now: float) -> list[Shot]:
        """Time has come: what to send."""
        shots: list[Shot] = []
        if self._over:
            return shots
        while len(shots) < AT_ONCE and self._next < len(self._due) and now >= self._due[self._next]:
            socket, to = self._aims[self._next % len(self._aims)]
            self._next += 1
            shots.append(self._shot(socket, to, now))
        if now >= self._end:
            self.stop()
        return shots

    def seen(self, socket: int | None, source: Endpoint, now: float) -> list[Shot]:
        """An authentic ping came in at a socket: it is open; see whether its way back is."""
        if self._over or self.probes >= MOST_PROBES:
            return []
        return [self._shot(socket, source, now)]

    def ponged(self, token: int, now: float) -> float | None:
        """A pong came in: if it answers a probe, that is a hit, and no more are sent.

        :returns: its round trip in seconds, or None if its ping was not of this volley.
        """
        sent_at = self._sent.pop(token, None)
        if sent_at is None:
            return None
        self.hit = True
        self.stop()
        return now - sent_at

    def stop(self) -> None:
        """Send no more."""
        self._over = True

    def _shot(self, socket: int | None, to: Endpoint, now: float) -> Shot:
        token = self._tokens()
        self._sent[token] = now
        self.probes += 1
        return Shot(socket, token, to)
