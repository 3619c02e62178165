"""How the members' paths fare, as they themselves tell it while somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from ipaddress import IPv4Address

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from tunnelmesh.coordinator.presence import IAttendant, Presence
from tunnelmesh.wire import signal
from tunnelmesh.wire.administration import PathReport, Report, Watch

KINDS = frozenset(("udp", "tcp", "ssh", "websocket"))
"""Kinds of path that people are shown; a newer peer's other ones are left out."""

EVERY = 2.0
"""Seconds between two reports of a member."""

MOST_PER_SECOND = 100
"""Reports of all members together: in a larger mesh, each reports less often."""

MOST_PATHS = 50_000
"""Paths that are remembered, over all members: 200 members that all use each other, and 20 MB."""

LONGEST_ROUND_TRIP = 60.0
"""Seconds; whoever tells of a longer one jests, or its clock jumped."""


@dataclass(frozen=True, slots=True)
class Path:
    """How one member sees its path to another.

    :ivar kind: one of :data:`KINDS`.
    :ivar rtt: round trip in seconds, 0 while it is not known.
    :ivar received: bytes so far; likewise *sent*.
    :ivar at: when it was told, in the reactor's seconds.
    :ivar receiving: bytes per second between the last two reports; likewise *sending*.
    """

    kind: str
    rtt: float
    received: int
    sent: int
    at: float
    receiving: float = 0.0
    sending: float = 0.0


@implementer(IAttendant)
class Reports:
    """Asks the members to report while somebody looks, and keeps the last of what they say.

    :param is_member: whether somebody has that mesh address.
    :ivar present: who is online, by mesh address.
    :ivar every: seconds between two reports of a member; 0 if nobody looks.
    :ivar paths: what each member (first) says of its path to another (second).
    :ivar changed: is called with both when something has been told of their path.
    :ivar refused: paths that were told of and cannot be.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        is_member: Callable[[IPv4Address], bool],
    ) -> None:
        self.present: dict[IPv4Address, Presence] = {}
        self.every = 0.0
        self.paths: dict[IPv4Address, dict[IPv4Address, Path]] = {}
        self.changed: Callable[[IPv4Address, IPv4Address], None] = lambda teller, other: None
        self.refused = 0
        self._reactor = reactor
        self._is_member = is_member
        self._onlookers: set[Hashable] = set()
        self._kept = 0

    def look(self, onlooker: Hashable) -> None:
        """Somebody wants to know."""
        first = not self._onlookers
        self._onlookers.add(onlooker)
        if first:
            # Whoever comes later is told the same: the pace is the mesh's, not the member's.
            self.every = max(EVERY, len(self.present) / MOST_PER_SECOND)
            self._tell_all()

    def look_away(self, onlooker: Hashable) -> None:
        """It does not any more. With the last one, everything is forgotten: it will not stay so."""
        if onlooker not in self._onlookers:
            return
        self._onlookers.remove(onlooker)
        if not self._onlookers:
            self.every = 0.0
            self._tell_all()
            self.paths.clear()
            self._kept = 0

    def forget(self, member: IPv4Address) -> None:
        """Somebody is no member any more."""
        self._drop(member)
        for teller, told in self.paths.items():
            if told.pop(member, None) is not None:
                self._kept -= 1
                self.changed(teller, member)

    # IAttendant

    def arrived(self, presence: Presence) -> None:
        self.present[presence.member.address] = presence
        if self._onlookers:
            watch = signal.encode(Watch(self.every))
            # By all its links: which of them it will use is not known yet.
            for line in presence.lines:
                line.link.send(watch)

    def told(self, presence: Presence, message: signal.Signal) -> bool:
        if not isinstance(message, Report):
            return False
        if not self._onlookers:
            presence.send(Watch(0.0))  # it has missed that nobody looks any more
            return True
        teller = presence.member.address
        for report in message.paths:
            self._take(teller, report)
        return True

    def left(self, presence: Presence) -> None:
        # What others say of it stays: a direct path outlives the link to the coordinator.
        self.present.pop(presence.member.address, None)
        self._drop(presence.member.address)

    def _drop(self, teller: IPv4Address) -> None:
        told = self.paths.pop(teller, {})
        self._kept -= len(told)
        for other in told:
            self.changed(teller, other)

    def _tell_all(self) -> None:
        watch = Watch(self.every)
        for presence in list(self.present.values()):
            if presence.lines:  # or its last one is just being lost
                presence.send(watch)

    def _take(self, teller: IPv4Address, report: PathReport) -> None:
        told = self.paths.setdefault(teller, {})
        before = told.get(report.address)
        if report.kind == "":
            if told.pop(report.address, None) is None:
                return
            self._kept -= 1
        elif not self._is_possible(teller, report) or (before is None and self._kept >= MOST_PATHS):
            self.refused += 1
            return
        else:
            now = self._reactor.seconds()
            rates = (0.0, 0.0) if before is None else _rates(before, report, now, self.every)
            told[report.address] = Path(
                report.kind, report.rtt, report.received, report.sent, now, *rates
            )
            self._kept += before is None
        self.changed(teller, report.address)

    def _is_possible(self, teller: IPv4Address, report: PathReport) -> bool:
        return (
            report.kind in KINDS
            and 0 <= report.rtt <= LONGEST_ROUND_TRIP
            and report.received >= 0
            and report.sent >= 0
            and report.address != teller
            and (report.address in self.present or self._is_member(report.address))
        )


def _rates(before: Path, report: PathReport, now: float, every: float) -> tuple[float, float]:
    """Bytes per second received and sent; none when the peer has been started anew in between."""
    seconds = now - before.at
    if seconds > 1.5 * every:
        seconds = every  # before that nothing had moved, or it would have been told
    received, sent = report.received - before.received, report.sent - before.sent
    if seconds <= 0 or received < 0 or sent < 0:
        return 0.0, 0.0
    return received / seconds, sent / seconds
