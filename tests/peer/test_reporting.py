"""What a peer tells of its paths while somebody looks, and that it is silent otherwise."""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from tests.peer.world import WorldTestCase, node
from tunnelmesh.coordinator.presence import IAttendant, Presence
from tunnelmesh.wire.administration import PathReport, Report, Watch
from tunnelmesh.wire.signal import Signal


@implementer(IAttendant)
class Listener:
    """Remembers reports.

    :ivar reports: when, who, and which paths.
    """

    def __init__(self, seconds: Any) -> None:
        self.present: dict[str, Presence] = {}
        self.reports: list[tuple[float, str, tuple[PathReport, ...]]] = []
        self._seconds = seconds

    def arrived(self, presence: Presence) -> None:
        """Remember whom to ask."""
        self.present[presence.member.name] = presence

    def told(self, presence: Presence, message: Signal) -> bool:
        """Remember it."""
        if isinstance(message, Report):
            self.reports.append((self._seconds(), presence.member.name, message.paths))
            return True
        return False

    def left(self, presence: Presence) -> None:
        """That is of no interest."""


class ReportingTests(WorldTestCase):
    """A peer on the simulated internet."""

    def setUp(self) -> None:
        super().setUp()
        assert self.coordinator.service is not None
        signalling = self.coordinator.service.signalling
        assert signalling is not None
        self.listener = Listener(self.internet.clock.seconds)
        # Whoever else listens would answer a report that it does not want.
        signalling.attendants[:] = [self.listener]

    def told(self, who: str, since: float = 0.0) -> list[PathReport]:
        """All paths that a peer has told of."""
        return [
            path
            for at, name, paths in self.listener.reports
            if name == who and at >= since
            for path in paths
        ]

    def watch(self, name: str, every: float) -> float:
        """Ask a peer; the time of that."""
        self.listener.present[name].send(Watch(every))
        return float(self.internet.clock.seconds())

    def test_silent_unless_asked(self) -> None:
        """Without Watch, a peer sends no report, whatever happens to its paths."""
        self.pair()
        self.internet.run(60)
        self.assertEqual([], self.listener.reports)

    def test_at_once_and_then_changes(self) -> None:
        """The path is told of at once, and not again while nothing changes."""
        self.pair()
        self.internet.run(20)
        asked = self.watch("here", 2.0)
        self.until(lambda: self.told("here"))
        self.assertLess(self.listener.reports[0][0] - asked, 0.5)
        (path,) = self.told("here")
        self.assertEqual("udp", path.kind)
        self.assertGreater(path.rtt, 0)
        self.internet.run(30)
        self.assertLessEqual(len(self.told("here")), 2)

    def test_traffic(self) -> None:
        """A path that carries something is told of every so many seconds."""
        here, _ = self.pair()
        self.watch("here", 2.0)
        self.internet.run(5)
        before = self.told("here")[-1]
        start = float(self.internet.clock.seconds())
        remote = node(here).mesh.members.remotes["there"]
        packet = b"\x45" + bytes(19)
        for _ in range(10):
            remote.send([packet])
            self.internet.run(1)
        told = self.told("here", start)
        self.assertGreaterEqual(len(told), 4)
        self.assertLessEqual(len(told), 7)
        self.assertEqual(10 * len(packet), told[-1].sent - before.sent)

    def test_change_is_told_promptly(self) -> None:
        """Another path is told of within a fraction of a second, however seldom reports are."""
        here, _ = self.pair()
        self.watch("here", 60.0)
        self.internet.run(5)
        start = float(self.internet.clock.seconds())
        for nat in self.nats:
            nat.block(udp=True)
        self.until(lambda: here.path_to("there") in ("ssh", "tcp"), 120)
        changed = float(self.internet.clock.seconds())
        self.internet.run(1)
        at, kind = next(
            (at, path.kind)
            for at, name, paths in self.listener.reports
            if name == "here" and at > start
            for path in paths
            if path.kind != "udp"
        )
        self.assertIn(kind, ("ssh", "tcp", ""))
        self.assertLess(at - changed, 0.5)

    def test_end(self) -> None:
        """Watch with 0 ends it; so does the end of the link."""
        here, _ = self.pair()
        self.watch("here", 1.0)
        self.internet.run(2)
        self.watch("here", 0.0)
        self.internet.run(2)
        start = float(self.internet.clock.seconds())
        remote = node(here).mesh.members.remotes["there"]
        for _ in range(5):
            remote.send([b"\x45" + bytes(19)])
            self.internet.run(1)
        self.assertEqual([], self.told("here", start))

    def test_refused_by_setting(self) -> None:
        """With ``no-reports``, a peer never tells anything."""
        here = self.add("here", no_reports=True)
        there = self.add("there")
        self.until(lambda: here.path_to("there") == there.path_to("here") == "udp")
        self.watch("here", 1.0)
        self.watch("there", 1.0)
        self.until(lambda: self.told("there"))
        self.internet.run(5)
        self.assertEqual([], self.told("here"))
