"""Pairs that plain punching cannot connect: prepared, told what to do, and not told in vain."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TypeVar

from twisted.trial.unittest import SynchronousTestCase

from tests.coordinator.fakes import FakeLink, present
from tunnelmesh.coordinator.hard_meetings import BROKEN_OFF, LONGEST, PAUSES, PREPARING
from tunnelmesh.coordinator.presence import Presence
from tunnelmesh.coordinator.rendezvous import CROSSING, Rendezvous
from tunnelmesh.nat.allocation import HIGHEST, LOWEST, Choice
from tunnelmesh.nat.birthday import MOST_PROBES
from tunnelmesh.nat.tactics import Approach
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import (
    HOST,
    Allocation,
    Candidate,
    Describe,
    Meet,
    Prepare,
    Prepared,
    Punched,
    Tactic,
)

STRICT = "address-and-port-dependent"
RANDOM = Allocation(Choice.RANDOM, low=LOWEST, high=HIGHEST)
COUNTS = Allocation(Choice.SEQUENTIAL, port=40000, step=1, rate=10.0)
SOON = 2 * CROSSING

T = TypeVar("T", Meet, Prepare)


class HardCase(SynchronousTestCase):
    """Members with NATs of their own."""

    def setUp(self) -> None:
        self.online: dict[object, Presence] = {}
        self.rendezvous = Rendezvous(self.online, Random(1))  # type: ignore[arg-type]
        self.links: dict[Presence, FakeLink] = {}

    def member(
        self, number: int, ports: Allocation | None = None, host: str | None = None, rtt: float = 0
    ) -> Presence:
        """One who is online, behind a symmetric NAT if it is said how that chooses ports."""
        presence, link = present(number, rtt)
        host = host or f"198.51.100.{number}"
        link.remote = f"{host}:5555"
        self.online[presence.member.address] = presence
        self.links[presence] = link
        presence.description = Describe(
            (),
            mapping="endpoint-independent" if ports is None else STRICT,
            filtering=STRICT,
            external=Endpoint(host, 4000 + number),
            allocation=ports or Allocation(),
        )
        return presence

    def ask(self, asker: Presence, other: Presence, now: float = 0.0) -> None:
        """One asks for the other."""
        self.rendezvous.asked(asker, other.member.address, now)

    def number(self, side: Presence) -> int | None:
        """The meeting that a member was told to prepare for since the last call, if any."""
        told = self.told(side, Prepare)
        return told[-1].meeting if told else None

    def prepare(self, side: Presence, now: float = 0.0, **how: object) -> int:
        """It answers with what it has described, or *how* it is now; the number of the meeting."""
        number = self.number(side)
        assert number is not None
        assert side.description is not None
        answer = Prepared(number, side.description.external, side.description.allocation)
        self.rendezvous.prepared(side, replace(answer, **how), now)  # type: ignore[arg-type]
        return number

    def met(self, side: Presence) -> list[Meet]:
        """The meetings that it was told of since the last call."""
        return self.told(side, Meet)

    def told(self, side: Presence, cls: type[T]) -> list[T]:
        """What it was told of one kind since the last call."""
        link = self.links[side]
        told = [message for message in link.signals if isinstance(message, cls)]
        link.signals = [message for message in link.signals if not isinstance(message, cls)]
        return told

    def meet(self, a: Presence, b: Presence, now: float) -> int | None:
        """A whole hard meeting up to its beginning; its number, or None if there is none."""
        self.ask(a, b, now)
        if self.met(a):
            self.met(b)
            return None
        number = self.prepare(a, now)
        self.prepare(b, now)
        self.assertEqual(len(self.met(a)), len(self.met(b)))
        return number


class ArrangingTests(HardCase):
    """From the request to the moment when both begin."""

    def test_random_and_cone(self) -> None:
        """Both prepare; then one is told to open sockets, the other to probe, at one moment."""
        a, b = self.member(1, RANDOM, rtt=0.02), self.member(2, rtt=0.12)
        self.ask(b, a)
        number = self.prepare(a, 0.1)
        self.assertEqual(self.met(a), [])
        self.prepare(b, 0.1, external=Endpoint("198.51.100.2", 4711))
        (to_a,), (to_b,) = self.met(a), self.met(b)
        self.assertEqual((to_a.meeting, to_b.meeting), (number, number))
        self.assertEqual(to_a.tactic, Tactic(Approach.BIRTHDAY, 256, (4711,)))
        self.assertEqual(to_b.tactic, Tactic(Approach.BIRTHDAY, low=LOWEST, high=HIGHEST))
        self.assertAlmostEqual(to_a.after, 0.05)
        self.assertEqual(to_a.them.external, Endpoint("198.51.100.2", 4711))
        self.assertEqual(self.rendezvous.hard.held, 1)

    def test_sequence(self) -> None:
        """The window begins at the port that was told last, and is wider for slow links."""
        widths = []
        for rtt in (0.0, 1.0):
            self.setUp()
            a, b = self.member(1, COUNTS, rtt=rtt), self.member(2, rtt=rtt)
            self.ask(a, b)
            self.prepare(b)
            self.prepare(a, allocation=replace(COUNTS, port=50000), age=0.1)
            (to_b,) = self.met(b)
            assert to_b.tactic is not None
            self.assertEqual(to_b.tactic.ports[0], 50001)
            widths.append(len(to_b.tactic.ports))
        self.assertLess(widths[0], widths[1])

    def test_plain_pairs(self) -> None:
        """A pair that plain punching connects, or nothing does, meets plainly and at once."""
        for one, other in ((None, None), (RANDOM, RANDOM), (RANDOM, COUNTS), (Allocation(), None)):
            self.setUp()
            a, b = self.member(1, one), self.member(2, other)
            self.ask(a, b)
            (to_a,) = self.met(a)
            self.assertIsNone(to_a.tactic)

    def test_ipv6_first(self) -> None:
        """Where both have IPv6, that is tried before anything hard."""
        a, b = self.member(1, RANDOM), self.member(2)
        for number, side in enumerate((a, b), 1):
            assert side.description is not None
            six = Candidate(HOST, Endpoint(f"2001:db8:{number}::1", 4000))
            side.description = replace(side.description, candidates=(six,))
        self.ask(a, b)
        self.assertEqual([meet.tactic for meet in self.met(a)], [None])
        self.ask(a, b, SOON)
        self.assertIsNotNone(self.number(a))


class WhoseAddressTests(HardCase):
    """Nobody is fired at because somebody else says so."""

    def test_not_where_the_link_comes_from(self) -> None:
        """An address that the member's own link does not come from is not fired at."""
        a, b = self.member(1, RANDOM), self.member(2)
        for remote in ("192.0.2.66:1", "[2001:db8::1]:1", "somewhere", ""):
            self.links[a].remote = remote
            self.ask(a, b, 0.0)
            self.assertFalse(self.rendezvous.hard.may_help(a, b, 0.0))
        self.links[a].remote = "[::ffff:198.51.100.1]:1"
        self.assertTrue(self.rendezvous.hard.may_help(a, b, 0.0))

    def test_moved_while_preparing(self) -> None:
        """One that answers from elsewhere is not met there."""
        a, b = self.member(1, RANDOM), self.member(2)
        self.ask(a, b)
        self.prepare(a)
        self.prepare(b, external=Endpoint("192.0.2.66", 4002))
        self.assertEqual(self.met(a) + self.met(b), [])
        self.assertFalse(self.rendezvous.hard.is_busy(a, b))

    def test_same_network(self) -> None:
        """Two behind one NAT do not meet through it."""
        a, b = self.member(1, RANDOM), self.member(2, None, "198.51.100.1")
        self.assertFalse(self.rendezvous.hard.may_help(a, b, 0.0))

    def test_unasked(self) -> None:
        """Answers and reports that were not asked for, or from others, change nothing."""
        a, b, c = self.member(1, RANDOM), self.member(2), self.member(3)
        self.rendezvous.prepared(a, Prepared(7, Endpoint("198.51.100.1", 1)), 0.0)
        self.rendezvous.punched(a, Punched(7, True, 10**9), 0.0)
        number = self.meet(a, b, 0.0)
        assert number is not None
        self.rendezvous.prepared(c, Prepared(number, Endpoint("198.51.100.3", 1)), 0.0)
        self.rendezvous.punched(c, Punched(number, True, 10**9), 0.0)
        self.assertEqual((self.rendezvous.hard.hit, self.rendezvous.hard.probes), (0, 0))
        for _ in range(3):
            self.rendezvous.punched(a, Punched(number, True, 10**9), 0.0)
        self.assertEqual((self.rendezvous.hard.hit, self.rendezvous.hard.probes), (1, MOST_PROBES))


class OneAtATimeTests(HardCase):
    """A network takes part in one hard meeting at a time."""

    def test_next_one_waits(self) -> None:
        """A second pair of the same network is prepared as soon as the first is done."""
        a, b, c = self.member(1, RANDOM), self.member(2), self.member(3)
        number = self.meet(a, b, 0.0)
        assert number is not None
        self.ask(c, a, 1.0)
        self.assertIsNone(self.number(c))
        self.rendezvous.punched(b, Punched(number, False, 2000), 2.0)
        self.assertIsNotNone(self.number(c))

    def test_same_pair(self) -> None:
        """A pair that asks again while it meets hard is not to meet again right after."""
        a, b = self.member(1, RANDOM), self.member(2)
        number = self.meet(a, b, 0.0)
        assert number is not None
        self.ask(b, a, SOON)
        self.rendezvous.punched(b, Punched(number, True, 9), SOON + 1)
        self.assertIsNone(self.number(a))

    def test_others_do_not_wait(self) -> None:
        """Other networks meet meanwhile."""
        a, b, c, d = self.member(1, RANDOM), self.member(2), self.member(3, COUNTS), self.member(4)
        self.meet(a, b, 0.0)
        self.ask(c, d, 0.1)
        self.assertIsNotNone(self.number(c))

    def test_nobody_answers(self) -> None:
        """Who does not prepare, or never reports, holds nobody up for long."""
        a, b, c = self.member(1, RANDOM), self.member(2), self.member(3)
        self.ask(a, b)
        self.number(a)
        self.ask(a, c, PREPARING)
        self.prepare(a, PREPARING)
        self.prepare(c, PREPARING)
        self.assertEqual(len(self.met(c)), 1)
        self.ask(a, b, PREPARING + LONGEST)
        self.assertIsNotNone(self.number(a))

    def leave(self, side: Presence, now: float) -> None:
        """It goes offline."""
        del self.online[side.member.address]
        side.lines.clear()
        self.rendezvous.left(side, now)

    def test_left_while_preparing(self) -> None:
        """Who goes away having prepared takes the meeting along; the next pair begins at once."""
        a, b = self.member(1, RANDOM), self.member(2)
        self.ask(a, b)
        self.prepare(a)
        number = self.number(b)
        assert number is not None
        self.leave(a, 0.2)
        self.rendezvous.prepared(b, Prepared(number, Endpoint("198.51.100.2", 4002)), 0.3)
        self.assertEqual(self.met(b), [])
        d = self.member(4, RANDOM)
        self.ask(d, b, 0.4)
        self.assertIsNotNone(self.number(d))

    def test_left_while_punching(self) -> None:
        """The same while both fire: whoever waited for their networks waits no longer."""
        a, b, c = self.member(1, RANDOM), self.member(2), self.member(3)
        self.meet(a, b, 0.0)
        self.ask(c, a, 1.0)
        self.assertIsNone(self.number(c))
        self.leave(b, 2.0)
        self.assertIsNotNone(self.number(c))

    def test_late_answer(self) -> None:
        """An answer to a meeting that is over by then begins nothing."""
        a, b, c = self.member(1, RANDOM), self.member(2), self.member(3)
        self.ask(a, b)
        number = self.prepare(a)
        self.ask(a, c, PREPARING)
        late = Prepared(number, Endpoint("198.51.100.2", 4002))
        self.rendezvous.prepared(b, late, PREPARING)
        self.assertEqual(self.met(b), [])


class MemoryTests(HardCase):
    """What was in vain is not repeated soon."""

    def fail_once(self, a: Presence, b: Presence, now: float) -> bool:
        """A meeting in vain; whether there was one."""
        number = self.meet(a, b, now)
        if number is not None:
            for side in (a, b):
                self.rendezvous.punched(side, Punched(number, False, 2000), now)
        return number is not None

    def test_pauses(self) -> None:
        """After each failure it takes longer, up to an hour."""
        for allocation, way in ((RANDOM, Approach.BIRTHDAY), (COUNTS, Approach.PREDICT)):
            self.setUp()
            a, b = self.member(1, allocation), self.member(2)
            now = 0.0
            for pause in (*PAUSES[way][1:], PAUSES[way][-1]):
                self.assertTrue(self.fail_once(a, b, now))
                if pause:
                    self.assertFalse(self.fail_once(a, b, now + pause - 20))
                now += max(pause, 20.0)

    def test_broken_off(self) -> None:
        """What was not tried to the end is tried again soon, and does not count."""
        a, b = self.member(1, RANDOM), self.member(2)
        for now in (0.0, BROKEN_OFF, 2 * BROKEN_OFF):
            number = self.meet(a, b, now)
            assert number is not None
            self.rendezvous.punched(a, Punched(number, False, 9, whole=False), now)
            self.rendezvous.punched(b, Punched(number, False, 2000), now)
            self.assertIsNone(self.meet(a, b, now + BROKEN_OFF / 2))

    def test_whole_networks(self) -> None:
        """Other machines of the two networks need not find out again."""
        a, b = self.member(1, RANDOM), self.member(2)
        self.fail_once(a, b, 0.0)
        c, d = self.member(3, RANDOM, "198.51.100.1"), self.member(4, None, "198.51.100.2")
        self.assertFalse(self.fail_once(c, d, 1.0))
        self.assertTrue(self.fail_once(self.member(5), a, 1.0))

    def test_success_is_forgotten(self) -> None:
        """A pair that was direct, and is not any more, may try at once; one hit counts for both."""
        a, b = self.member(1, RANDOM), self.member(2)
        number = self.meet(a, b, 0.0)
        assert number is not None
        self.rendezvous.punched(a, Punched(number, False, 100), 1.0)
        self.rendezvous.punched(b, Punched(number, True, 100), 1.1)
        self.assertEqual((self.rendezvous.hard.hit, self.rendezvous.hard.probes), (1, 200))
        self.assertIsNotNone(self.meet(a, b, 5.0))
