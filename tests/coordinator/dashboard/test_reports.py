"""Who is asked for reports and when, and what is believed of them."""

from __future__ import annotations

from ipaddress import IPv4Address

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.coordinator.fakes import FakeLink, member, present
from tunnelmesh.coordinator import reports as module
from tunnelmesh.coordinator.presence import IAttendant, Line
from tunnelmesh.coordinator.reports import Reports
from tunnelmesh.wire.administration import Leave, PathReport, Report, Watch
from tunnelmesh.wire.signal import Pong, Signal

ONE, TWO, THREE = (member(number).address for number in (1, 2, 3))


class ReportsTests(SynchronousTestCase):
    """Two members online, a third known."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.reports = Reports(self.clock, lambda address: address in (ONE, TWO, THREE))
        self.changed: list[tuple[IPv4Address, IPv4Address]] = []
        self.reports.changed = lambda *pair: self.changed.append(pair)
        (self.one, self.link), (self.two, self.other) = present(1), present(2)
        self.reports.arrived(self.one)
        self.reports.arrived(self.two)

    def tell(self, *paths: PathReport) -> None:
        """The first member reports."""
        self.assertTrue(self.reports.told(self.one, Report(paths)))

    def watched(self, link: FakeLink) -> list[Signal]:
        """What a member was told to do since the last call."""
        return link.take(Watch)

    def test_interface(self) -> None:
        """It is an attendant, and lets others have what is not for it."""
        verifyObject(IAttendant, self.reports)
        self.assertFalse(self.reports.told(self.one, Pong(1)))
        self.assertFalse(self.reports.told(self.one, Leave()))

    def test_silent_without_onlookers(self) -> None:
        """Nobody looks: nobody is asked, and who reports all the same is told to stop."""
        self.assertEqual([], self.watched(self.link))
        self.tell(PathReport(TWO, "udp", 0.1, 1, 1))
        self.assertEqual([Watch(0.0)], self.watched(self.link))
        self.assertEqual({}, self.reports.paths)

    def test_from_first_to_last(self) -> None:
        """The first onlooker has everybody asked, and the last one has it ended."""
        self.reports.look("a")
        self.reports.look("b")
        self.assertEqual([Watch(module.EVERY)], self.watched(self.link))
        self.assertEqual([Watch(module.EVERY)], self.watched(self.other))
        self.tell(PathReport(TWO, "udp", 0.1, 1, 1))
        self.reports.look_away("a")
        self.assertEqual([], self.watched(self.link))
        self.assertIn(TWO, self.reports.paths[ONE])
        self.reports.look_away("b")
        self.assertEqual([Watch(0.0)], self.watched(self.link))
        self.assertEqual({}, self.reports.paths)
        self.reports.look_away("b")
        self.assertEqual([], self.watched(self.link))

    def test_newcomer(self) -> None:
        """Who signs in while somebody looks is asked, on every link that it has."""
        self.reports.look("a")
        three, link = present(3)
        second = FakeLink()
        three.lines.insert(0, Line(second))
        self.reports.arrived(three)
        for each in (link, second):
            self.assertEqual([Watch(module.EVERY)], self.watched(each))

    def test_pace(self) -> None:
        """In a large mesh, each member reports less often."""
        for number in range(3, 1001):
            self.reports.arrived(present(number)[0])
        self.reports.look("a")
        self.assertEqual(1000 / module.MOST_PER_SECOND, self.reports.every)

    def test_rates(self) -> None:
        """Throughput is what counters grew by, in the time since the last report."""
        self.reports.look("a")
        self.tell(PathReport(TWO, "udp", 0.1, 1000, 500))
        self.assertEqual((0.0, 0.0), self.rates())
        self.clock.advance(2)
        self.tell(PathReport(TWO, "udp", 0.1, 3000, 500))
        self.assertEqual((1000.0, 0.0), self.rates())
        self.clock.advance(60)
        self.tell(PathReport(TWO, "udp", 0.1, 3000, 2500))
        self.assertEqual((0.0, 1000.0), self.rates(), "before the last report's time it was idle")
        self.clock.advance(2)
        self.tell(PathReport(TWO, "udp", 0.1, 10, 10))
        self.assertEqual((0.0, 0.0), self.rates(), "the peer was started anew")

    def rates(self) -> tuple[float, float]:
        """Receiving and sending, as known of the first member's path."""
        path = self.reports.paths[ONE][TWO]
        return path.receiving, path.sending

    def test_impossible_paths(self) -> None:
        """Of what cannot be nothing is kept, and what is right beside it is."""
        self.reports.look("a")
        stranger = IPv4Address("192.0.2.1")
        wrong = [
            PathReport(stranger, "udp", 0.1, 1, 1),
            PathReport(ONE, "udp", 0.1, 1, 1),
            PathReport(TWO, "<b>", 0.1, 1, 1),
            PathReport(TWO, "udp", -0.1, 1, 1),
            PathReport(TWO, "udp", float("nan"), 1, 1),
            PathReport(TWO, "udp", 1e9, 1, 1),
            PathReport(TWO, "udp", 0.1, -1, 1),
            PathReport(TWO, "udp", 0.1, 1, -1),
        ]
        self.tell(*wrong, PathReport(stranger, "", 0, 1, 1))
        self.assertEqual([], self.changed, "nobody has to look")
        self.tell(PathReport(THREE, "ssh", 0.1, 1, 1))
        self.assertEqual(len(wrong), self.reports.refused)
        self.assertEqual([THREE], list(self.reports.paths[ONE]))

    def test_bounded(self) -> None:
        """More paths than are kept are refused; those that end make room."""
        self.patch(module, "MOST_PATHS", 1)
        self.reports.look("a")
        self.tell(PathReport(TWO, "udp", 0.1, 1, 1), PathReport(THREE, "udp", 0.1, 1, 1))
        self.assertEqual(1, self.reports.refused)
        self.tell(PathReport(TWO, "", 0, 1, 1), PathReport(TWO, "", 0, 1, 1))
        self.tell(PathReport(THREE, "udp", 0.1, 1, 1))
        self.assertEqual([THREE], list(self.reports.paths[ONE]))

    def test_leaving(self) -> None:
        """What somebody said ends with its link; what others say of it, with its membership."""
        self.reports.look("a")
        self.tell(PathReport(TWO, "udp", 0.1, 1, 1))
        self.reports.told(self.two, Report((PathReport(ONE, "udp", 0.1, 1, 1),)))
        self.reports.left(self.two)
        self.assertEqual([ONE], list(self.reports.paths))
        self.changed.clear()
        self.reports.forget(TWO)
        self.assertEqual({}, self.reports.paths[ONE])
        self.assertEqual([(ONE, TWO)], self.changed)
