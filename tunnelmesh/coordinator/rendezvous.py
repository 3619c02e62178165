"""Meetings: two peers are told to punch at the same moment.

The message to the one whose link is quicker arrives earlier, so that one is told to wait for the
difference; both then fire at once, each towards the other's NAT.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv4Address
from random import Random

from tunnelmesh.coordinator.buckets import TokenBuckets
from tunnelmesh.coordinator.hard_meetings import HardMeetings
from tunnelmesh.coordinator.presence import Presence
from tunnelmesh.nat.candidates import share_ipv6
from tunnelmesh.wire import signal

LONGEST_WAIT = 1.0
"""Seconds that a peer is made to wait at most: a link slower than 2 s is held up, not far away."""

CROSSING = 1.0
"""Seconds within which a second request of the same pair, with nothing new known of either, is the
other one's request for the same meeting."""

BURST = 6
INTERVAL = 3.0
"""Meetings that a pair may have at once, and seconds until it may have another: a path that becomes
possible unannounced is to be found within five seconds, and a meeting costs each router no more
than some dozen small packets for each of the pair's addresses."""

MEMBER_BURST = 128
MEMBER_INTERVAL = 0.1
"""The same for all meetings that one member asks for. A member may claim anybody's address as its
own, and have all that it meets send their probes there: so it meets ten in a second and not
thousands, while one that has come back meets a hundred at once."""

MEMBERS_KEPT = 1 << 12
"""Members whose asking is remembered."""

PAIRS_KEPT = 1 << 16
"""Pairs whose last meeting is remembered: some ten megabytes."""

MOST_POSTPONED = 256
"""Pairs that wait for others' hard meetings; more will ask again by themselves."""

Pair = frozenset[IPv4Address]


def go_delays(rtt_a: float, rtt_b: float) -> tuple[float, float]:
    """When each of two peers is to start, counted from when it hears of it.

    A message takes half of its link's round trip, so that *after* + rtt / 2 is the same for both.

    :param rtt_a: round trip of one link, in seconds; *rtt_b* of the other.
    :returns: seconds for one and for the other; one of them is 0.
    """
    difference = (rtt_a - rtt_b) / 2
    return (
        min(max(-difference, 0.0), LONGEST_WAIT),
        min(max(difference, 0.0), LONGEST_WAIT),
    )


@dataclass(frozen=True, slots=True)
class _Meeting:
    """When a pair was last told to meet, and what was known of the two then."""

    at: float
    descriptions: tuple[signal.Describe | None, signal.Describe | None]


class Rendezvous:
    """Arranges meetings.

    :param online: everybody who is online by mesh address; the registry keeps it up to date.
    :param random: for the meetings' numbers.
    :ivar meetings: how many there were.
    :ivar hard: those of pairs that plain punching cannot connect.
    """

    def __init__(self, online: dict[IPv4Address, Presence], random: Random) -> None:
        self.meetings = 0
        self.hard = HardMeetings()
        self._online = online
        self._random = random
        self._last: OrderedDict[Pair, _Meeting] = OrderedDict()
        self._rate = TokenBuckets(BURST, INTERVAL, PAIRS_KEPT)
        self._member_rate = TokenBuckets(MEMBER_BURST, MEMBER_INTERVAL, MEMBERS_KEPT)
        self._waiting: dict[IPv4Address, set[IPv4Address]] = {}
        self._postponed: dict[Pair, tuple[Presence, Presence]] = {}

    def asked(self, asker: Presence, address: IPv4Address, now: float) -> None:
        """A peer wants to meet another.

        :param now: seconds.
        """
        other = self._online.get(address)
        if other is None or other is asker:
            asker.send(signal.Gone(address))
        elif asker.description is None:
            self._wait(asker, other)
        elif other.description is None:
            self._wait(other, asker)
        else:
            self._meet(asker, other, now)

    def described(self, presence: Presence, now: float) -> None:
        """A peer has described its network: hold the meetings that waited for it."""
        for address in self._waiting.pop(presence.member.address, ()):
            other = self._online.get(address)
            if other is not None:
                self.asked(other, presence.member.address, now)

    def prepared(self, presence: Presence, answer: signal.Prepared, now: float) -> None:
        """A peer is prepared for a hard punch: if both are, let them begin."""
        ready = self.hard.prepared(presence, answer, now)
        if ready is not None:
            self._tell(ready.sides, ready.number, ready.descriptions, ready.tactics)

    def punched(self, presence: Presence, report: signal.Punched, now: float) -> None:
        """A peer's hard punch is over: let one begin that waited for it."""
        self.hard.punched(presence, report, now)
        self._hold_postponed(now)

    def left(self, presence: Presence, now: float) -> None:
        """A peer is not online any more."""
        self._waiting.pop(presence.member.address, None)
        self.hard.left(presence, now)
        self._hold_postponed(now)

    def _wait(self, silent: Presence, other: Presence) -> None:
        """A meeting needs both descriptions; peers send theirs soon after signing in."""
        self._waiting.setdefault(silent.member.address, set()).add(other.member.address)

    def _postpone(self, asker: Presence, other: Presence) -> None:
        """Hold a hard meeting when the one that is in its way is over."""
        pair = frozenset((asker.member.address, other.member.address))
        if len(self._postponed) < MOST_POSTPONED:
            self._postponed[pair] = asker, other

    def _hold_postponed(self, now: float) -> None:
        """A hard meeting is over: hold those that waited for it."""
        postponed, self._postponed = self._postponed, {}
        for asker, other in postponed.values():
            if self._online.get(asker.member.address) is asker:
                self.asked(asker, other.member.address, now)

    def _meet(self, asker: Presence, other: Presence, now: float) -> None:
        a, b = asker, other
        if a.member.address > b.member.address:
            a, b = b, a
        pair = frozenset((a.member.address, b.member.address))
        descriptions = (a.description, b.description)
        last = self._last.get(pair)
        if last and now - last.at < CROSSING and last.descriptions == descriptions:
            return
        # IPv6 is likely to work; if it has just been tried, it is not.
        tried = last is not None and last.descriptions == descriptions
        assert a.description is not None
        assert b.description is not None
        hard = tried or not share_ipv6(a.description, b.description)
        hard = hard and self.hard.may_help(a, b, now)
        if hard and self.hard.is_busy(a, b):
            if not self.hard.are_meeting(a, b):
                self._postpone(asker, other)
            return
        if not self._rate.take(pair, now):
            return
        if not self._member_rate.take(asker.member.address, now):
            return
        self._last[pair] = _Meeting(now, descriptions)
        self._last.move_to_end(pair)
        if len(self._last) > PAIRS_KEPT:
            self._last.popitem(last=False)
        number = self._random.getrandbits(32)
        if hard:
            self.hard.begin(a, b, number, now)
        else:
            self._tell((a, b), number, (a.description, b.description), (None, None))

    def _tell(
        self,
        sides: tuple[Presence, Presence],
        number: int,
        descriptions: tuple[signal.Describe, signal.Describe],
        tactics: tuple[signal.Tactic | None, signal.Tactic | None],
    ) -> None:
        """Let both begin."""
        self.meetings += 1
        a, b = sides
        after_a, after_b = go_delays(a.rtt, b.rtt)
        a.send(signal.Meet(b.member.address, number, after_a, descriptions[1], tactics[0]))
        b.send(signal.Meet(a.member.address, number, after_b, descriptions[0], tactics[1]))
