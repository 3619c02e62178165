"""Which way for which pair, and what each side does for it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.nat import birthday, prediction
from tunnelmesh.nat.allocation import HIGHEST, LOWEST, Choice
from tunnelmesh.nat.behaviour import Filtering, Mapping, NatBehaviour, punchable
from tunnelmesh.nat.tactics import Approach, approach, tactics
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import Allocation, Tactic

STRICT = Filtering.ADDRESS_AND_PORT_DEPENDENT
HERE, THERE = Endpoint("198.51.100.1", 40000), Endpoint("198.51.100.2", 50000)


def symmetric(kind: str, hosts: int = 1, **how: float) -> NatBehaviour:
    """A symmetric NAT that chooses ports so."""
    chosen = Allocation(kind, hosts, **how)  # type: ignore[arg-type]
    return NatBehaviour(Mapping.ADDRESS_AND_PORT_DEPENDENT, STRICT, HERE, allocation=chosen)


CONE = NatBehaviour(Mapping.ENDPOINT_INDEPENDENT, STRICT, THERE)
FIREWALL = NatBehaviour(Mapping.NONE, STRICT, THERE)
OPEN = NatBehaviour(Mapping.NONE, Filtering.ENDPOINT_INDEPENDENT, THERE)
BLOCKED = NatBehaviour(Mapping.BLOCKED, Filtering.BLOCKED)
SEQUENTIAL = symmetric(Choice.SEQUENTIAL, port=40000, step=2, rate=10.0)
BLOCK = symmetric(Choice.BLOCK, low=20000, high=22047)
RANDOM = symmetric(Choice.RANDOM, low=LOWEST, high=HIGHEST)
UNKNOWN = symmetric(Choice.UNKNOWN)
ALL = (CONE, FIREWALL, OPEN, BLOCKED, SEQUENTIAL, BLOCK, RANDOM, UNKNOWN)


class ApproachTests(SynchronousTestCase):
    """The decision."""

    def test_table(self) -> None:
        """Every pair that there is."""
        for a, b, expected in (
            (CONE, FIREWALL, Approach.PLAIN),
            (RANDOM, OPEN, Approach.PLAIN),
            (SEQUENTIAL, CONE, Approach.PREDICT),
            (SEQUENTIAL, FIREWALL, Approach.PREDICT),
            (SEQUENTIAL, SEQUENTIAL, Approach.PREDICT),
            (RANDOM, CONE, Approach.BIRTHDAY),
            (BLOCK, FIREWALL, Approach.BIRTHDAY),
            (RANDOM, RANDOM, Approach.HOPELESS),
            (RANDOM, BLOCK, Approach.HOPELESS),
            (RANDOM, SEQUENTIAL, Approach.HOPELESS),
            (UNKNOWN, CONE, Approach.HOPELESS),
            (UNKNOWN, OPEN, Approach.PLAIN),
            (BLOCKED, CONE, Approach.HOPELESS),
            (BLOCKED, RANDOM, Approach.HOPELESS),
            (NatBehaviour(), RANDOM, Approach.PLAIN),
        ):
            self.assertEqual(approach(a, b), expected)
            self.assertEqual(approach(b, a), expected)

    def test_pools(self) -> None:
        """Where the address is not known either, there is no hard punch."""
        for kind in (Choice.SEQUENTIAL, Choice.RANDOM):
            pooled = symmetric(kind, hosts=2, step=1, low=LOWEST, high=HIGHEST)
            self.assertEqual(approach(pooled, CONE), Approach.HOPELESS)
            self.assertEqual(approach(pooled, OPEN), Approach.PLAIN)

    def test_forwarded_port(self) -> None:
        """Who has a forwarded port is met plainly, whatever the two NATs are."""
        self.assertEqual(approach(replace(RANDOM, forwarded=True), RANDOM), Approach.PLAIN)

    def test_plain_is_what_it_was(self) -> None:
        """Whatever plain punching opens is opened plainly."""
        for a, b in product(ALL, ALL):
            self.assertEqual(approach(a, b) is Approach.PLAIN, punchable(a, b))
            if approach(a, b) in (Approach.PLAIN, Approach.HOPELESS):
                self.assertIsNone(tactics(a, b))


class TacticTests(SynchronousTestCase):
    """Who does what."""

    def test_either_order(self) -> None:
        """The two sides' parts do not depend on who is named first."""
        for a, b in product(ALL, ALL):
            one, other = tactics(a, b, 0.1, 0.2), tactics(b, a, 0.2, 0.1)
            self.assertEqual(one, other and (other[1], other[0]))

    def test_birthday(self) -> None:
        """The random side opens many sockets, the other draws from the ports that it may get."""
        opening, probing = tactics(RANDOM, CONE) or self.fail("none")
        self.assertEqual(opening, Tactic(Approach.BIRTHDAY, 256, (THERE.port,)))
        self.assertEqual(probing, Tactic(Approach.BIRTHDAY, low=LOWEST, high=HIGHEST))

    def test_block(self) -> None:
        """Fewer sockets where the block is known, and only its ports are tried."""
        opening, probing = tactics(BLOCK, CONE) or self.fail("none")
        self.assertEqual((opening.sockets, probing.low, probing.high), (64, 20000, 22047))

    def test_one_sequence(self) -> None:
        """A cone aims at the whole window, in steps."""
        opening, aiming = tactics(SEQUENTIAL, CONE, 0.1) or self.fail("none")
        self.assertEqual(opening.ports, (THERE.port,))
        self.assertEqual(aiming.ports[:3], (40002, 40004, 40006))
        self.assertEqual(aiming.sockets, 0)

    def test_two_sequences(self) -> None:
        """Each opens as many sockets as the other's aim is steps away."""
        slow = symmetric(Choice.SEQUENTIAL, port=1000, step=1, rate=0.0)
        fast = symmetric(Choice.SEQUENTIAL, port=2000, step=-1, rate=50.0)
        here, there = tactics(slow, fast, 0.2, 0.2) or self.fail("none")
        self.assertEqual(there.ports, (1000 + here.sockets,))
        self.assertEqual(here.ports, (2000 - there.sockets,))
        self.assertLess(here.sockets, there.sockets)

    def test_sequence_at_its_end(self) -> None:
        """Ports that do not exist are not aimed at; if there are none at all, nothing is done."""
        last = symmetric(Choice.SEQUENTIAL, port=65535, step=1)
        self.assertIsNone(tactics(last, CONE))
        self.assertIsNone(tactics(last, SEQUENTIAL))

    def test_unknown_place(self) -> None:
        """Without an external address there is nothing to aim at."""
        self.assertIsNone(tactics(RANDOM, replace(CONE, external=None)))
        self.assertIsNone(tactics(replace(RANDOM, external=None), CONE))


class PredictionTests(SynchronousTestCase):
    """Windows."""

    def test_grows(self) -> None:
        """Quiet and fresh is narrow, busy or old is wide, and never wider than the limit."""
        widths = [
            len(prediction.window(Allocation(port=9000, step=1, rate=rate), 0.3))
            for rate in (0.0, 10.0, 50.0, 1e9)
        ]
        self.assertEqual(widths, sorted(widths))
        self.assertEqual(widths[0], prediction.SPARE)
        self.assertEqual(widths[-1], prediction.WIDEST)

    def test_is_wide_enough(self) -> None:
        """The next port is in the window 98 times in a hundred, at any rate it allows for."""
        random = Random(1)
        for rate in (1.0, 10.0, 30.0, 80.0):
            width = len(prediction.window(Allocation(port=9000, step=1, rate=rate), 0.3))
            missed = 0
            for _ in range(2000):
                others, at = 0, random.expovariate(rate)
                while at < 0.3:
                    others, at = others + 1, at + random.expovariate(rate)
                missed += others >= width
            self.assertLess(missed, 40, rate)

    @given(
        st.builds(
            Allocation,
            st.text(max_size=5),
            st.integers(),
            st.integers(-(2**53), 2**53),
            st.integers(-(2**53), 2**53),
            rate=st.floats(allow_nan=False, allow_infinity=False),
        ),
        st.floats(allow_nan=False, allow_infinity=False),
    )
    @settings(max_examples=200, derandomize=True)
    def test_hostile(self, sequence: Allocation, age: float) -> None:
        """Whatever a stranger says, it is a few ports that exist."""
        ports = prediction.window(sequence, age)
        self.assertLessEqual(len(ports), prediction.WIDEST)
        self.assertTrue(all(0 < port < 65536 for port in ports))


class BirthdayTests(SynchronousTestCase):
    """The arithmetic."""

    def test_sockets(self) -> None:
        """256 for all ports, fewer for a block, never a handful."""
        self.assertEqual(birthday.sockets(LOWEST, HIGHEST), 256)
        self.assertEqual(birthday.sockets(20000, 22047), 64)
        self.assertEqual(birthday.sockets(20000, 20100), 16)
        self.assertEqual(birthday.sockets(0, 10**12), 256)

    def test_draw(self) -> None:
        """No port twice, none that is not there, and not more than the cap."""
        ports = birthday.draw(LOWEST, HIGHEST, Random(1))
        self.assertEqual(len(set(ports)), birthday.MOST_PROBES)
        self.assertTrue(all(LOWEST <= port <= HIGHEST for port in ports))
        self.assertEqual(sorted(birthday.draw(-5, 3, Random(1))), [1, 2, 3])
        self.assertEqual(birthday.draw(9, 3, Random(1)), [])
        self.assertEqual(birthday.draw(0, 0, Random(1)), [])
        self.assertEqual(len(birthday.draw(-(2**53), 2**53, Random(1))), birthday.MOST_PROBES)

    def test_table(self) -> None:
        """The module's table is right: chance of a miss after so many probes."""
        for sockets, *probes in ((84, 530, 1744, 3440, 5090), (256, 175, 577, 1148, 1715)):
            for number, share in zip(probes, (0.5, 0.9, 0.99, 0.999), strict=True):
                hit = 1 - (1 - sockets / (HIGHEST - LOWEST + 1)) ** number
                self.assertAlmostEqual(hit, share, 2)
