"""The rows that are shown, and how often they are sent to whom."""

from __future__ import annotations

import json
from ipaddress import IPv6Network
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.coordinator.fakes import member, present
from tunnelmesh.coordinator.dashboard.history import MOST, History
from tunnelmesh.coordinator.dashboard.sessions import Sessions
from tunnelmesh.coordinator.dashboard.view import View
from tunnelmesh.coordinator.dashboard.viewers import LINGER, Viewers
from tunnelmesh.coordinator.presence import Presence
from tunnelmesh.coordinator.reports import Reports
from tunnelmesh.coordinator.store import Member
from tunnelmesh.wire.administration import PathReport, Report, Watch
from tunnelmesh.wire.signal import Describe


class Page:
    """A viewer whose browser is in memory."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.stale = True
        self.full = False
        self.heard = self.told = 0.0
        self.transport = self
        self.messages: list[Any] = []
        self.pings = 0
        self.ended: object = None

    def say(self, message: bytes) -> None:
        """Read it."""
        self.messages.append(json.loads(message))

    def sendPing(self) -> None:
        """Count it."""
        self.pings += 1

    def abortConnection(self) -> None:
        """Remember it."""
        self.ended = "aborted"

    def end(self) -> None:
        """Remember it."""
        self.ended = "signed out"

    def take(self) -> list[Any]:
        """What came since the last call."""
        taken, self.messages = self.messages, []
        return taken


class ViewTestCase(SynchronousTestCase):
    """Some members, and everything that a dashboard is made of but its web site."""

    members = 3

    def setUp(self) -> None:
        self.clock = Clock()
        self.known: dict[int, Member] = {n: member(n) for n in range(1, self.members + 1)}
        self.reports = Reports(self.clock, lambda address: self.view.is_member(address))
        self.history = History(lambda: 1e9 + self.clock.seconds())
        self.view = View(
            self.known.values,
            IPv6Network("fd74:6d01:203::/48"),
            self.reports,
            self.history,
            self.clock.seconds,
            lambda: 1e9 + self.clock.seconds(),
        )
        self.sessions = Sessions(iter_entropy())
        self.viewers = Viewers(self.clock, self.sessions, self.view, self.reports)
        self.reports.changed = self.told
        self.history.changed = self.viewers.soon
        self.present: dict[int, Presence] = {}
        for number in self.known:
            self.come(number)

    def told(self, *pair: Any) -> None:
        """As the dashboard does."""
        self.view.touch(*pair)
        self.viewers.soon()

    def come(self, number: int) -> None:
        """A member signs in."""
        presence = self.present[number] = present(number)[0]
        for attendant in (self.reports, self.history):
            attendant.arrived(presence)

    def leave(self, number: int) -> None:
        """A member goes offline."""
        for attendant in (self.reports, self.history):
            attendant.left(self.present[number])

    def path(self, one: int, other: int, kind: str, carried: int = 0, rtt: float = 0.01) -> None:
        """One end tells of its path."""
        report = PathReport(member(other).address, kind, rtt, carried, carried)
        self.reports.told(self.present[one], Report((report,)))

    def open(self) -> Page:
        """A page is opened by somebody who is signed in."""
        now = self.clock.seconds()
        page = Page(self.sessions.begin(self.sessions.new_link(now), now))
        page.heard = now
        self.viewers.opened(page)  # type: ignore[arg-type]
        return page

    def close(self, page: Page) -> None:
        """It is closed."""
        self.viewers.closed(page)  # type: ignore[arg-type]

    def pass_time(self, seconds: float, *answering: Page) -> None:
        """Let time pass; these pages answer pings."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            for page in answering:
                page.heard = self.clock.seconds()


def iter_entropy() -> Any:
    """Bytes that are different each time."""
    count = [0]

    def entropy(size: int) -> bytes:
        count[0] += 1
        return count[0].to_bytes(size, "big")

    return entropy


class ViewTests(ViewTestCase):
    """What is in the rows."""

    def test_whole_and_changes(self) -> None:
        """A page gets everything at once, and then only what has changed."""
        page = self.open()
        (whole,) = page.take()
        self.assertTrue(whole["whole"])
        self.assertEqual({"100.96.0.1", "100.96.0.2", "100.96.0.3"}, set(whole["peers"]))
        self.assertEqual(["online"] * 3, [entry["what"] for entry in whole["changes"]])
        self.path(1, 2, "udp")
        self.pass_time(2, page)
        (delta,) = page.take()
        self.assertNotIn("whole", delta)
        self.assertEqual({}, delta["peers"])
        (row,) = delta["paths"].values()
        self.assertEqual(["udp", ["udp", ""], 10.0], [row["kind"], row["kinds"], row["rtt"]])

    def test_worse_kind_is_shown(self) -> None:
        """Where the ends differ, the pair has the worse kind; both are told."""
        page = self.open()
        self.path(1, 2, "udp")
        self.path(2, 1, "ssh")
        self.pass_time(2, page)
        row = page.take()[-1]["paths"]["100.96.0.1 100.96.0.2"]
        self.assertEqual(["ssh", ["udp", "ssh"]], [row["kind"], row["kinds"]])

    def test_change_of_path(self) -> None:
        """Another kind of path is a change that is remembered, the first one is not."""
        page = self.open()
        self.path(1, 2, "ssh")
        self.pass_time(2, page)
        page.take()
        self.path(1, 2, "udp")
        self.pass_time(2, page)
        entries = [entry for told in page.take() for entry in told["changes"]]
        self.assertEqual([("path", "ssh", "udp")], [
            (entry["what"], entry["before"], entry["after"]) for entry in entries
        ])  # fmt: skip

    def test_gone(self) -> None:
        """Rows of who is offline, removed, or without a path say so, or go."""
        page = self.open()
        self.path(1, 2, "udp")
        self.path(2, 1, "udp")
        self.path(3, 1, "udp")
        self.pass_time(2, page)
        page.take()
        self.leave(2)
        del self.known[3]
        self.path(1, 2, "")
        self.pass_time(3, page)
        deltas = page.take()
        peers = {key: row for told in deltas for key, row in told["peers"].items()}
        paths = {key: row for told in deltas for key, row in told["paths"].items()}
        self.assertFalse(peers["100.96.0.2"]["online"])
        self.assertIsNone(peers["100.96.0.3"])
        self.assertEqual({"100.96.0.1 100.96.0.2": None, "100.96.0.1 100.96.0.3": None}, paths)

    def test_idle_again(self) -> None:
        """A path of which no more is heard counts as idle soon."""
        page = self.open()
        for carried in (0, 10_000):
            self.path(1, 2, "udp", carried)
            self.pass_time(2, page)
        self.assertEqual([5000, 5000], page.take()[-1]["paths"]["100.96.0.1 100.96.0.2"]["rates"])
        self.pass_time(6, page)
        self.assertEqual([0, 0], page.take()[-1]["paths"]["100.96.0.1 100.96.0.2"]["rates"])

    def test_description(self) -> None:
        """What a member says of its network is shown."""
        self.present[1].description = Describe((), flavour="symmetric", relay_only=True)
        (whole,) = self.open().take()
        row = whole["peers"]["100.96.0.1"]
        self.assertEqual(["symmetric", True], [row["nat"], row["relayOnly"]])

    def test_history_is_bounded(self) -> None:
        """The oldest changes are forgotten."""
        for _ in range(MOST):
            self.leave(1)
            self.come(1)
        self.assertEqual(MOST, len(self.history.since(0)[0]))


class ViewersTests(ViewTestCase):
    """When what is sent, and to whom."""

    def watched(self) -> list[Any]:
        """What the first member has been told."""
        link: Any = self.present[1].link
        return link.take(Watch)  # type: ignore[no-any-return]

    def test_watch_only_while_open(self) -> None:
        """Members are asked with the first page, and left alone after the last one."""
        self.pass_time(60)
        self.assertEqual([], self.watched())
        pages = [self.open(), self.open()]
        self.assertEqual([2.0], [watch.every for watch in self.watched()])
        self.close(pages[0])
        self.assertEqual([], self.watched())
        self.close(pages[1])
        self.pass_time(LINGER - 1)
        self.close(self.open())
        self.pass_time(LINGER - 1)
        self.assertEqual([], self.watched(), "a page that is reloaded changes nothing")
        self.pass_time(2)
        self.assertEqual([0.0], [watch.every for watch in self.watched()])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_once_a_second(self) -> None:
        """However much happens, a page hears at most once a second, and of the first at once."""
        page = self.open()
        self.pass_time(5, page)
        page.take()
        for number in range(100):
            self.path(1, 2, "udp" if number % 2 else "ssh", number)
            if number == 1:
                self.assertEqual(1, len(page.messages), "promptly")
            self.pass_time(0.1, page)
        self.assertLessEqual(len(page.take()), 11)

    def test_page_that_does_not_read(self) -> None:
        """One that is full gets nothing, and everything when it reads again."""
        page, other = self.open(), self.open()
        page.take()
        page.full = True
        for number in range(10):
            self.path(1, 2, "udp", number * 1000)
            self.pass_time(2, page, other)
        self.assertEqual([], page.take())
        self.assertGreater(len(other.take()), 5)
        page.full = False
        self.pass_time(2, page, other)
        self.assertEqual([True], [told.get("whole", False) for told in page.take()][:1])

    def test_heartbeat(self) -> None:
        """When nothing happens, a page hears so, and is pinged; one that is gone is cut off."""
        page = self.open()
        page.take()
        self.pass_time(30, page)
        self.assertEqual([{}] * len(page.messages), page.take())
        self.pass_time(30)
        self.assertGreater(page.pings, 0)
        self.assertIsNone(page.ended)
        self.pass_time(20)
        self.assertEqual("aborted", page.ended)

    def test_signed_out(self) -> None:
        """The pages of a session that has ended are sent away, the others stay."""
        page, other = self.open(), self.open()
        self.sessions.end(page.session)
        self.viewers.signed_out()
        self.assertEqual(["signed out", None], [page.ended, other.ended])
        page.take()
        self.path(1, 2, "udp")
        self.pass_time(2, other)
        self.assertEqual([], page.take())


class LargeMeshTests(ViewTestCase):
    """Two hundred members."""

    members = 200

    def test_delta_is_small(self) -> None:
        """When one path of two thousand changes, its row alone is sent."""
        page = self.open()
        for one in range(1, 201):
            for step in range(1, 11):
                self.path(one, (one + step - 1) % 200 + 1, "udp")
        self.pass_time(3, page)
        self.assertEqual(2000, sum(len(told["paths"]) for told in page.take()))
        self.path(7, 9, "ssh")
        self.pass_time(2, page)
        (delta,) = page.take()
        self.assertEqual(["100.96.0.7 100.96.0.9"], list(delta["paths"]))
        self.assertEqual({}, delta["peers"])
        self.assertLess(len(json.dumps(delta)), 500)
