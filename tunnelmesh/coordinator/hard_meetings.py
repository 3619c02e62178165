"""Meetings of pairs that plain punching cannot connect: who may try, when, and whether again.

Such a meeting has three steps. Both peers are told to prepare, and answer with the external address
and the port that their NATs are at now. From that follows what each is to do
(:func:`tunnelmesh.nat.tactics.tactics`), and both are told to do it at the same moment. When it is
over, they tell what came of it.

A network takes part in one at a time. What was in vain between two networks is not repeated soon,
whichever machines behind them ask.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address

from tunnelmesh.coordinator.presence import Presence
from tunnelmesh.errors import DecodeError
from tunnelmesh.nat.behaviour import NatBehaviour
from tunnelmesh.nat.birthday import MOST_PROBES
from tunnelmesh.nat.candidates import behaviour_of
from tunnelmesh.nat.tactics import Approach, approach, tactics
from tunnelmesh.nat.volley import ANSWER_WAIT, BIRTHDAY_TIME
from tunnelmesh.wire import signal
from tunnelmesh.wire.endpoint import Endpoint

PREPARING = 3.0
"""Seconds that the answers to Prepare may take: a look at the NAT takes a fraction of one, and up
to one more where STUN's packets are lost."""

HELD_UP = 0.02
"""Seconds that pass in the programs on both sides between a port that is seen and the probes."""

LONGEST = BIRTHDAY_TIME + 2 * ANSWER_WAIT
"""Seconds after which a hard punch is over even if nobody says so."""

PAUSES = {
    Approach.PREDICT: (0.0, 0.0, 0.0, 60.0, 3600.0),
    Approach.BIRTHDAY: (0.0, 60.0, 3600.0),
}
"""Seconds to wait after so many attempts in vain; the last repeats. A prediction is cheap, and may
fail since somebody else was quicker. A birthday punch fails by bad luck once in 2,800 times, so
that there is another reason, and it has cost two thousand packets."""

BROKEN_OFF = 5.0
"""Seconds to wait where it was not tried to the end: a link had become slow, or a peer had left."""

REMEMBERED = 1 << 14
"""Pairs of networks whose failures are remembered: some megabytes."""

Networks = frozenset[str]


@dataclass(eq=False, slots=True)
class _Meeting:
    """A hard meeting.

    :ivar prepared: what each has answered, and when that arrived.
    :ivar approach: how it is tried; None while it is prepared.
    :ivar until: when it is over by itself.
    :ivar reports: who has told what came of it.
    :ivar hit: whether a way was found; None while nobody has told.
    """

    number: int
    sides: tuple[Presence, Presence]
    networks: Networks
    until: float
    prepared: dict[IPv4Address, tuple[signal.Prepared, float]] = field(default_factory=dict)
    approach: Approach | None = None
    reports: set[IPv4Address] = field(default_factory=set)
    hit: bool | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    """What was in vain between two networks.

    :ivar times: how often; *at*: the last time; *whole*: whether that was tried to the end.
    """

    times: int
    at: float
    whole: bool


@dataclass(frozen=True, slots=True)
class Arranged:
    """Both sides are ready: what each is to do, and the other's description as it is now."""

    number: int
    sides: tuple[Presence, Presence]
    tactics: tuple[signal.Tactic, signal.Tactic]
    descriptions: tuple[signal.Describe, signal.Describe]


class HardMeetings:
    """Arranges them.

    :ivar held: how many there were; *hit*: how many found a way.
    :ivar probes: packets that they took, by the word of the peers.
    """

    def __init__(self) -> None:
        self.held = 0
        self.hit = 0
        self.probes = 0
        self._busy: dict[str, _Meeting] = {}
        self._meetings: OrderedDict[int, _Meeting] = OrderedDict()
        self._failures: OrderedDict[Networks, _Failure] = OrderedDict()

    def may_help(self, a: Presence, b: Presence, now: float) -> bool:
        """Whether a hard punch is the way for two peers, and not known to be in vain."""
        networks = _networks(a, b)
        if networks is None:
            return False
        way = approach(_behaviour(a), _behaviour(b))
        if way not in PAUSES:
            return False
        self._end_overdue(now)
        failure = self._failures.get(networks)
        if failure is None:
            return True
        pauses = PAUSES[way]
        pause = pauses[min(failure.times, len(pauses) - 1)] if failure.whole else BROKEN_OFF
        return now - failure.at >= pause

    def is_busy(self, a: Presence, b: Presence) -> bool:
        """Whether one of their networks is in a hard meeting."""
        return bool(self._in_the_way(a, b))

    def are_meeting(self, a: Presence, b: Presence) -> bool:
        """Whether that is one of these two."""
        return any(set(meeting.sides) == {a, b} for meeting in self._in_the_way(a, b))

    def begin(self, a: Presence, b: Presence, number: int, now: float) -> None:
        """Have both prepare; their networks are not busy.

        :param number: the meeting's.
        """
        networks = _networks(a, b)
        assert networks is not None
        meeting = _Meeting(number, (a, b), networks, now + PREPARING)
        self._meetings[number] = meeting
        for network in networks:
            self._busy[network] = meeting
        for side in (a, b):
            side.send(signal.Prepare(number))

    def prepared(self, side: Presence, answer: signal.Prepared, now: float) -> Arranged | None:
        """A peer has prepared.

        :returns: what both are to do, once both have.
        """
        meeting = self._meetings.get(answer.meeting)
        if meeting is None or side not in meeting.sides or meeting.approach is not None:
            return None  # too late, or not asked
        meeting.prepared[side.member.address] = (answer, now)
        if len(meeting.prepared) < 2:
            return None
        arranged = _arrange(meeting, now)
        if arranged is None:
            self._forget(meeting)
            return None
        meeting.approach = Approach(arranged.tactics[0].style)
        meeting.until = now + LONGEST
        self.held += 1
        return arranged

    def punched(self, side: Presence, report: signal.Punched, now: float) -> None:
        """A peer tells what came of it: the networks are free for others."""
        meeting = self._meetings.get(report.meeting)
        address = side.member.address
        if meeting is None or side not in meeting.sides or address in meeting.reports:
            return
        meeting.reports.add(address)
        self.probes += min(max(report.probes, 0), MOST_PROBES)
        self._release(meeting)
        if not report.direct:
            self._failed(meeting, now, report.whole)
        elif not meeting.hit:
            meeting.hit = True
            self.hit += 1
            self._failures.pop(meeting.networks, None)

    def left(self, side: Presence, now: float) -> None:
        """A peer is gone, and with it its meetings: the networks are free for others."""
        for meeting in [each for each in self._meetings.values() if side in each.sides]:
            self._end(meeting, now)

    def _failed(self, meeting: _Meeting, now: float, whole: bool) -> None:
        if meeting.hit is not None:
            return
        meeting.hit = False
        before = self._failures.pop(meeting.networks, None)
        times = (before.times if before else 0) + whole
        self._failures[meeting.networks] = _Failure(times, now, whole)
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)

    def _in_the_way(self, a: Presence, b: Presence) -> list[_Meeting]:
        networks = _networks(a, b) or ()
        return [self._busy[network] for network in networks if network in self._busy]

    def _end_overdue(self, now: float) -> None:
        """End the meetings of which nothing was heard."""
        for meeting in [each for each in self._meetings.values() if now >= each.until]:
            self._end(meeting, now)

    def _end(self, meeting: _Meeting, now: float) -> None:
        """End a meeting without having heard of its end."""
        if meeting.approach is not None:
            self._failed(meeting, now, whole=False)
        self._forget(meeting)

    def _forget(self, meeting: _Meeting) -> None:
        self._release(meeting)
        del self._meetings[meeting.number]

    def _release(self, meeting: _Meeting) -> None:
        for network in meeting.networks:
            if self._busy.get(network) is meeting:
                del self._busy[network]


def _behaviour(side: Presence) -> NatBehaviour:
    assert side.description is not None
    return behaviour_of(side.description)


def _networks(a: Presence, b: Presence) -> Networks | None:
    """The two peers' external addresses, if they are two, and are where the peers themselves are.

    A peer may claim any address. One that its link does not come from is not fired at: it could be
    anybody's.
    """
    hosts = []
    for side in (a, b):
        external = None if side.description is None else side.description.external
        if external is None or external.host != _observed(side):
            return None
        hosts.append(external.host)
    return frozenset(hosts) if hosts[0] != hosts[1] else None


def _observed(side: Presence) -> str | None:
    """The address that a peer's link comes from."""
    try:
        address = ip_address(Endpoint.parse(side.link.remote).host)
    except DecodeError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _arrange(meeting: _Meeting, now: float) -> Arranged | None:
    latest = max(side.rtt for side in meeting.sides)
    behaviours, ages, descriptions = [], [], []
    for side in meeting.sides:
        answer, arrived_at = meeting.prepared[side.member.address]
        described = side.description
        if described is None or described.external is None or answer.external is None:
            return None
        if answer.external.host != described.external.host:
            return None  # it has moved: it will describe itself anew
        described = replace(described, external=answer.external, allocation=answer.allocation)
        descriptions.append(described)
        behaviours.append(behaviour_of(described))
        # From the sample to its being told, its way here, the other's answer, and the way of Meet.
        waited = side.rtt / 2 + now - arrived_at + latest / 2
        ages.append(max(answer.age, 0.0) + waited + HELD_UP)
    agreed = tactics(behaviours[0], behaviours[1], ages[0], ages[1])
    if agreed is None:
        return None
    return Arranged(meeting.number, meeting.sides, agreed, (descriptions[0], descriptions[1]))
