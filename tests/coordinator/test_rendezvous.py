"""Two peers told to punch at the same moment."""

from __future__ import annotations

from random import Random
from typing import cast

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.coordinator.fakes import FakeLink, present
from tunnelmesh.coordinator.presence import Presence
from tunnelmesh.coordinator.rendezvous import (
    BURST,
    CROSSING,
    INTERVAL,
    LONGEST_WAIT,
    MEMBER_BURST,
    MEMBER_INTERVAL,
    Rendezvous,
    go_delays,
)
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import HOST, Candidate, Describe, Gone, Meet

RTT = st.floats(0, 2 * LONGEST_WAIT)


class GoDelayTests(SynchronousTestCase):
    """The arithmetic."""

    def test_by_hand(self) -> None:
        """250 ms and 750 ms of round trip: the first one waits for 250 ms."""
        self.assertEqual(go_delays(0.25, 0.75), (0.25, 0.0))
        self.assertEqual(go_delays(0.75, 0.25), (0.0, 0.25))
        self.assertEqual(go_delays(0.1, 0.1), (0.0, 0.0))

    @hypothesis_settings(max_examples=100, derandomize=True)
    @given(RTT, RTT)
    def test_same_moment(self, a: float, b: float) -> None:
        """Both fire at one moment, and as early as possible."""
        after_a, after_b = go_delays(a, b)
        self.assertAlmostEqual(a / 2 + after_a, b / 2 + after_b)
        self.assertEqual(min(after_a, after_b), 0)

    def test_held_up(self) -> None:
        """A link that hangs does not make the other one wait for ever."""
        self.assertEqual(go_delays(0.02, 600.0), (LONGEST_WAIT, 0.0))


class RendezvousTests(SynchronousTestCase):
    """Who meets whom, and when."""

    def setUp(self) -> None:
        self.a, self.link_a = present(1, rtt=0.02)
        self.b, self.link_b = present(2, rtt=0.12)
        self.online = {p.member.address: p for p in (self.a, self.b)}
        self.rendezvous = Rendezvous(self.online, Random(1))
        self.describe(self.a)
        self.describe(self.b)

    def describe(self, presence: Presence, port: int = 1, now: float = 0) -> None:
        """The peer says where it is."""
        endpoint = Endpoint(f"10.0.0.{int(presence.member.address) & 255}", port)
        presence.description = Describe((Candidate(HOST, endpoint),))
        self.rendezvous.described(presence, now)

    def ask(self, now: float, by: Presence | None = None) -> None:
        """One asks for the other."""
        asker = by or self.a
        other = self.b if asker is self.a else self.a
        self.rendezvous.asked(asker, other.member.address, now)

    def met(self, link: FakeLink) -> list[Meet]:
        """The meetings that the link was told of since the last call."""
        return cast("list[Meet]", link.take(Meet))

    def test_both_are_told(self) -> None:
        """Each hears of the other, under one number, the quicker one to wait for the slower."""
        self.ask(0)
        (to_a,), (to_b,) = self.met(self.link_a), self.met(self.link_b)
        self.assertEqual((to_a.address, to_a.them), (self.b.member.address, self.b.description))
        self.assertEqual((to_b.address, to_b.them), (self.a.member.address, self.a.description))
        self.assertEqual(to_a.meeting, to_b.meeting)
        self.assertAlmostEqual(to_a.after, 0.05)
        self.assertEqual(to_b.after, 0)

    def test_crossing_requests(self) -> None:
        """When both ask at about the same time there is one meeting."""
        self.ask(0, self.a)
        self.ask(CROSSING / 2, self.b)
        self.assertEqual(len(self.met(self.link_a)), 1)
        self.ask(CROSSING, self.b)
        self.assertEqual(len(self.met(self.link_a)), 1)

    def test_something_new(self) -> None:
        """A request right after one of them moved is not taken for the earlier one's echo."""
        self.ask(0)
        self.describe(self.b, port=2)
        self.ask(0.1)
        self.assertEqual(
            [meet.them.candidates[0].endpoint.port for meet in self.met(self.link_a)], [1, 2]
        )

    def test_rate(self) -> None:
        """A pair that asks all the time meets seldom; another pair is not harmed."""
        for number in range(100):
            self.ask(number * CROSSING)
        self.assertLessEqual(len(self.met(self.link_a)), BURST + 100 * CROSSING / INTERVAL)
        other, link = present(3)
        self.online[other.member.address] = other
        self.describe(other)
        self.rendezvous.asked(other, self.b.member.address, 100)
        self.assertEqual(len(self.met(link)), 1)

    def test_rate_of_one_member(self) -> None:
        """One that asks for everybody meets some of them; those it leaves alone meet as ever."""
        crowd = [present(number) for number in range(3, 3 + 2 * MEMBER_BURST)]
        for each, _ in crowd:
            self.online[each.member.address] = each
            self.describe(each)
            self.rendezvous.asked(self.a, each.member.address, 0)
        self.assertEqual(len(self.met(self.link_a)), MEMBER_BURST)
        self.rendezvous.asked(self.a, crowd[-1][0].member.address, MEMBER_INTERVAL)
        self.assertEqual(len(self.met(self.link_a)), 1)
        self.rendezvous.asked(self.b, crowd[-2][0].member.address, 0)
        self.assertEqual(len(self.met(self.link_b)), 1)

    def test_not_online(self) -> None:
        """Who asks for somebody absent, unknown or itself is told so."""
        del self.online[self.b.member.address]
        self.ask(0)
        self.rendezvous.asked(self.a, self.a.member.address, 0)
        self.assertEqual(
            self.link_a.take(), [Gone(self.b.member.address), Gone(self.a.member.address)]
        )

    def test_waits_for_descriptions(self) -> None:
        """Asked for too early, the meeting is held once both have said where they are."""
        self.a.description = self.b.description = None
        self.ask(0, self.b)
        self.ask(0, self.a)
        self.assertEqual(self.met(self.link_a), [])
        self.describe(self.a)
        self.assertEqual(self.met(self.link_a), [])
        self.describe(self.b)
        self.assertEqual(len(self.met(self.link_a)), 1)
        self.assertEqual(len(self.met(self.link_b)), 1)

    def test_left_while_waiting(self) -> None:
        """Nothing happens, and nothing is kept, when one that was waited for leaves."""
        self.b.description = None
        self.ask(0)
        del self.online[self.b.member.address]
        self.rendezvous.left(self.b, 0.0)
        self.rendezvous.described(self.b, 1)
        self.assertEqual(self.met(self.link_a), [])

    def test_unmeasured(self) -> None:
        """Two links not measured yet are taken to be alike."""
        self.a.lines[0].samples.clear()
        self.b.lines[0].samples.clear()
        self.ask(0)
        self.assertEqual(self.met(self.link_a)[0].after, 0)
        self.assertEqual(self.met(self.link_b)[0].after, 0)

    def test_shortest_sample_counts(self) -> None:
        """A round trip that was spent in a queue does not shift the moment."""
        self.b.lines[0].samples.append(0.9)
        self.assertEqual(self.b.rtt, 0.12)
