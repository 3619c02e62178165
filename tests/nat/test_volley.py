"""Many probes, bounded whatever is asked for."""

from __future__ import annotations

from itertools import count
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bench.hard_pairs import duels, summary
from tunnelmesh.nat.allocation import HIGHEST, LOWEST
from tunnelmesh.nat.birthday import MOST_PROBES, MOST_SOCKETS
from tunnelmesh.nat.tactics import Approach
from tunnelmesh.nat.volley import (
    ANSWER_WAIT,
    AT_ONCE,
    BIRTHDAY_TIME,
    ROUNDS,
    SPREAD_PACE,
    Shot,
    Volley,
    may_be_fired_at,
)
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import Tactic

HOST = "198.51.100.7"
START = 10.0
ANY = st.integers(-(2**53), 2**53)


def volley(tactic: Tactic) -> Volley:
    """One that starts at 10 s."""
    return Volley(tactic, HOST, START, count(1).__next__, Random(1))


def play(machine: Volley) -> list[tuple[float, Shot]]:
    """Call it whenever it wants; what it sent, and how long after the start."""
    sent = []
    while (deadline := machine.deadline) is not None:
        sent += [(deadline - START, shot) for shot in machine.expire(deadline)]
    return sent


class VolleyTests(SynchronousTestCase):
    """One side of a hard punch."""

    def test_window(self) -> None:
        """The ports of a window, from the main socket, in every round."""
        sent = play(volley(Tactic(Approach.PREDICT, ports=(4001, 4002))))
        self.assertEqual([shot.to.port for _, shot in sent], [4001, 4002] * len(ROUNDS))
        self.assertEqual({shot.socket for _, shot in sent}, {None})
        for at, (first, _) in zip(ROUNDS, sent[::2], strict=True):
            self.assertAlmostEqual(first, at)

    def test_sockets(self) -> None:
        """Many sockets send to one port, each as often as there are rounds."""
        sent = play(volley(Tactic(Approach.PREDICT, sockets=3, ports=(4001,))))
        self.assertEqual([shot.socket for _, shot in sent], [0, 1, 2] * len(ROUNDS))
        self.assertEqual({shot.to for _, shot in sent}, {Endpoint(HOST, 4001)})

    def test_birthday(self) -> None:
        """Random ports, none twice, at a measured pace, until the cap."""
        sent = play(volley(Tactic(Approach.BIRTHDAY, low=LOWEST, high=HIGHEST)))
        self.assertEqual(len({shot.to for _, shot in sent}), MOST_PROBES)
        for number, (at, _) in enumerate(sent):
            self.assertAlmostEqual(at, number / SPREAD_PACE, 6)

    def test_openers_wait(self) -> None:
        """Sockets stay as long as the other side probes."""
        machine = volley(Tactic(Approach.BIRTHDAY, sockets=16, ports=(4001,)))
        last = START
        while machine.deadline is not None:
            last = machine.deadline
            machine.expire(last)
        self.assertAlmostEqual(last, START + BIRTHDAY_TIME)
        self.assertLess(MOST_PROBES / SPREAD_PACE, BIRTHDAY_TIME)

    def test_stops_when_hit(self) -> None:
        """An answer ends it; a second one, a moment later, still tells of another way."""
        machine = volley(Tactic(Approach.BIRTHDAY, low=LOWEST, high=HIGHEST))
        shots = machine.expire(START) + machine.expire(START + 0.01)
        self.assertGreater(len(shots), 1)
        self.assertIsNone(machine.ponged(999, START + 0.02))
        self.assertAlmostEqual(machine.ponged(shots[0].token, START + 0.05) or 0.0, 0.05)
        self.assertTrue(machine.hit)
        self.assertIsNone(machine.deadline)
        self.assertEqual(machine.expire(START + 5), [])
        self.assertIsNone(machine.ponged(shots[0].token, START + 0.06))
        self.assertIsNotNone(machine.ponged(shots[1].token, START + 0.06))

    def test_seen(self) -> None:
        """A ping that comes in is answered with one from the same socket."""
        machine = volley(Tactic(Approach.PREDICT, sockets=3, ports=(4001,)))
        machine.expire(START)
        source = Endpoint(HOST, 4001)
        [shot] = machine.seen(2, source, START + 0.02)
        self.assertEqual((shot.socket, shot.to), (2, source))
        machine.ponged(shot.token, START + 0.04)
        self.assertEqual(machine.seen(2, source, START + 0.05), [])

    def test_late_timer(self) -> None:
        """After a stall not everything leaves at once."""
        machine = volley(Tactic(Approach.BIRTHDAY, sockets=256, ports=(4001,)))
        self.assertEqual(len(machine.expire(START + 3.0)), AT_ONCE)
        self.assertEqual(len(machine.expire(START + 3.0)), AT_ONCE)

    def test_answers_are_waited_for(self) -> None:
        """The last probe's answer still counts."""
        machine = volley(Tactic(Approach.PREDICT, ports=(4001,)))
        machine.expire(START + ROUNDS[-1])
        self.assertAlmostEqual(machine.deadline or 0.0, START + ROUNDS[-1] + ANSWER_WAIT)

    @given(
        st.builds(
            Tactic,
            st.sampled_from([*Approach, "dance"]),
            ANY,
            st.lists(ANY | st.integers(1, 65535), max_size=512).map(tuple),
            ANY,
            ANY,
        )
    )
    @settings(max_examples=50, derandomize=True, deadline=None)
    def test_hostile(self, tactic: Tactic) -> None:
        """Whatever the coordinator asks for: one address, a bounded number, a bounded time."""
        machine = volley(tactic)
        sent = play(machine)
        extra = [machine.seen(0, Endpoint(HOST, port), START) for port in range(1, 5000)]
        self.assertLessEqual(len(sent) + sum(map(len, extra)), MOST_PROBES)
        self.assertEqual(machine.probes, len(sent) + sum(map(len, extra)))
        self.assertTrue(all(shot.to.host == HOST for _, shot in sent))
        self.assertTrue(all(0 < shot.to.port < 65536 for _, shot in sent))
        self.assertTrue(all((shot.socket or 0) < MOST_SOCKETS for _, shot in sent))
        self.assertLessEqual(max((at for at, _ in sent), default=0.0), BIRTHDAY_TIME)

    def test_whom_to_fire_at(self) -> None:
        """Public addresses only: nobody in a private network, no group, not ourselves."""
        for host in ("198.51.100.7", "8.8.8.8", "2001:db8::1"):
            self.assertTrue(may_be_fired_at(host), host)
        for host in (
            *("10.1.2.3", "172.16.0.1", "192.168.1.1", "100.96.0.7", "127.0.0.1", "169.254.1.1"),
            *("224.0.0.1", "255.255.255.255", "0.0.0.0", "240.0.0.1"),
            *("::1", "fe80::1", "fd74:6d6d:6573::1", "ff02::1"),
        ):
            self.assertFalse(may_be_fired_at(host), host)


class DuelTests(SynchronousTestCase):
    """The machines of both sides against each other; many more run with bench.hard_pairs."""

    def check(self, case: str, trials: int, share: float, seconds: float) -> None:
        """So large a share hits, half of them so soon, none with more than the cap."""
        result = summary(case, duels(case, trials))
        self.assertGreaterEqual(result["share"], share, case)
        self.assertLess(result["median_s"], seconds, case)
        self.assertLessEqual(result["most_probes"], MOST_PROBES)

    def test_sequences(self) -> None:
        """Sequences are met within a fraction of a second, with a few dozen probes."""
        for case in ("sequential x cone", "sequential x sequential"):
            self.check(case, 50, 0.98, 0.3)
            self.check(f"{case}, 20 others/s", 50, 0.85, 0.3)

    def test_birthdays(self) -> None:
        """Random ports are met in a few seconds, those of a block sooner."""
        self.check("random x cone", 20, 0.95, 3.0)
        self.check("block of 2048 x cone", 20, 0.95, 1.0)

    def test_hopeless(self) -> None:
        """Two random ones cost nothing."""
        results = duels("random x random", 20)
        self.assertEqual({each.probes for each in results}, {(0, 0)})
        self.assertEqual({each.seconds for each in results}, {None})
