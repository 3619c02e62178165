"""The search for a direct path to one remote peer where plain punching cannot find one."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

from tunnelmesh.interfaces import IPath
from tunnelmesh.nat.candidates import behaviour_of
from tunnelmesh.nat.tactics import Approach, approach
from tunnelmesh.nat.volley import may_be_fired_at
from tunnelmesh.peer.pair.hard_punch import HardPunch
from tunnelmesh.peer.pair.surroundings import Surroundings
from tunnelmesh.wire.probe import ProbeSeal
from tunnelmesh.wire.signal import Describe, Meet, Punched

HARD = (Approach.PREDICT, Approach.BIRTHDAY)
"""What a hard punch is for; others are not to be had, whatever the coordinator says."""


class HardPursuit:
    """Hard punches towards one remote peer, as the coordinator arranges them.

    :param seal: for probes between the two.

    :ivar last: the last one, running or over; None if there was none.
    """

    def __init__(self, seal: ProbeSeal, around: Surroundings) -> None:
        self.last: HardPunch | None = None
        self._spent: Counter[str] = Counter()
        self._seal = seal
        self._around = around
        self._meeting = 0
        self._declined = False

    def probes(self, style: str | None = None) -> int:
        """Packets sent in all hard punches, or in those of one style."""
        spent = Counter(self._spent)
        if self.last is not None and self.running:
            spent[self.last.tactic.style] += self.last.probes
        return spent.total() if style is None else spent[style]

    @property
    def running(self) -> bool:
        """Whether one is under way."""
        return self.last is not None and self.last.outcome is None

    def hopeful(self, own: Describe, them: Describe) -> bool:
        """Whether this may lead to something soon: there is a way, and the coordinator has not
        just declined to try it again."""
        way = approach(behaviour_of(own), behaviour_of(them))
        return way in HARD and not self._declined

    def meet(self, meet: Meet, own: Describe, start: float) -> bool:
        """Both sides are told to begin at *start*; whether this one does."""
        self._declined = meet.tactic is None
        if meet.tactic is None:
            return False
        way = approach(behaviour_of(own), behaviour_of(meet.them))
        there = meet.them.external
        if way not in HARD or there is None or self._is_nobody(there.host, own):
            self._around.signal(Punched(meet.meeting, direct=False, probes=0, whole=False))
            return False
        shared = self._around.hard
        self.last = shared.begin(meet.tactic, there.host, start, self._seal, self._ended)
        self._meeting = meet.meeting
        return True

    def seen(self, path: IPath, now: float) -> None:
        """An authentic ping came in by a path that is not known."""
        if self.last is not None and self.running:
            self.last.seen(path, now)

    def ponged(self, token: int, path: IPath, now: float) -> float | None:
        """A pong came in.

        :returns: its round trip in seconds, if it answers a probe of the last hard punch.
        """
        return None if self.last is None else self.last.ponged(token, path, now)

    def found(self) -> None:
        """A direct path is in use: the other side has hit, or plain punching has."""
        if self.last is not None:
            self.last.end("it found a way", direct=True)

    def stop(self, why: str) -> None:
        """Break it off."""
        if self.last is not None:
            self.last.end(why)

    def _is_nobody(self, host: str, own: Describe) -> bool:
        """Whether no peer can be at an address that many packets would go to."""
        ours = {endpoint.host for endpoint in self._around.avoid()}
        if own.external is not None:
            ours.add(own.external.host)
        inner = ip_address(host) in self._around.interface.network
        return inner or host in ours or not may_be_fired_at(host)

    def _ended(self, punch: HardPunch) -> None:
        self._spent[punch.tactic.style] += punch.probes
        self._around.signal(Punched(self._meeting, punch.direct, punch.probes, punch.whole))
