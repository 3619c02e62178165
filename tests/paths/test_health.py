"""Tests for :mod:`tunnelmesh.paths.health`."""

from itertools import count, product
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.paths import health
from tunnelmesh.paths.health import Health, State
from tunnelmesh.paths.path_mtu import BASE, RAISE, STEP, PathMtu

FULL = 1452
RTT = 0.02


class Line:
    """A path under a clock: answers pings after RTT seconds unless it is cut."""

    def __init__(self, *, trusted: bool = False, largest: int = 1 << 16) -> None:
        self.now = 100.0
        self.rtt = RTT
        tokens = count(1).__next__
        mtu = None if trusted else PathMtu(self.now, tokens, FULL)
        self.health = Health(self.now, tokens, mtu, trusted=trusted)
        self.cut = False
        self.largest = largest
        self.lose: Random | None = None
        self.pings: list[tuple[float, int]] = []
        self._pongs: list[tuple[float, int]] = []

    def run(self, seconds: float, *, sending: float | None = None, hearing: bool = False) -> None:
        """Let time pass, sending data every *sending* seconds."""
        end = self.now + seconds
        next_data = self.now if sending else end
        while True:
            times = [self.health.deadline, next_data, end]
            times += [at for at, _ in self._pongs[:1]]
            self.now = max(self.now, min(times))
            if self.now >= end:
                return
            if self._pongs and self._pongs[0][0] <= self.now:
                self.health.ponged(self._pongs.pop(0)[1], self.now)
            if self.now >= next_data and sending:
                mtu = self.health.mtu
                self.health.sent(self.now, FULL if mtu is None else mtu.size)
                if hearing:
                    self.health.heard(self.now)
                next_data += sending
            if self.now >= self.health.deadline:
                for ping in self.health.expire(self.now):
                    self.pings.append((self.now, ping.size))
                    lost = self.lose is not None and self.lose.random() < 0.05
                    if not self.cut and not lost and ping.size <= self.largest:
                        self._pongs.append((self.now + self.rtt, ping.token))

    @property
    def size(self) -> int:
        """Bytes that traffic may send at once."""
        assert self.health.mtu is not None
        return self.health.mtu.size

    def until(self, state: State, limit: float, **traffic: float) -> float:
        """Run until a state is reached; the seconds it took."""
        start = self.now
        while self.health.state is not state:
            if self.now - start > limit:
                raise AssertionError(f"still {self.health.state} after {limit} s")
            self.run(0.005, **traffic)  # type: ignore[arg-type]
        return self.now - start


class ProvingTests(SynchronousTestCase):
    """A path has to prove itself before it carries."""

    def test_three_pongs_prove(self) -> None:
        """Three pongs in a row, and the path is good at full size, in about three round trips."""
        line = Line()
        self.assertLess(line.until(State.GOOD, 1.0), 4 * RTT + 0.1)
        self.assertEqual([FULL, BASE, BASE, BASE], [size for _, size in line.pings])
        self.assertEqual(FULL, line.size)

    def test_too_narrow_path_is_not_chosen(self) -> None:
        """A path that carries only what is shorter than the base is never good."""
        line = Line(largest=BASE - 1)
        line.until(State.DEAD, 5.0)

    def test_silent_path_dies(self) -> None:
        """A path that never answers is given up after a few pings, then pinged sparsely."""
        line = Line()
        line.cut = True
        line.until(State.DEAD, 5.0)
        line.pings.clear()
        line.run(10.0)
        self.assertLessEqual(len(line.pings), 11)

    def test_round_trip_is_measured(self) -> None:
        """The smoothed round trip comes near the true one."""
        line = Line()
        line.until(State.GOOD, 1.0)
        assert line.health.rtt is not None
        self.assertApproximates(RTT, line.health.rtt, 0.002)


class TrafficTests(SynchronousTestCase):
    """A path in use is judged by its traffic."""

    def setUp(self) -> None:
        """A good path."""
        self.line = Line()
        self.line.until(State.GOOD, 1.0)

    def test_cut_under_traffic_is_noticed_at_once(self) -> None:
        """Data goes out, nothing comes back: suspect within half a second, dead within one more."""
        self.line.run(2.0, sending=0.05, hearing=True)
        self.line.cut = True
        self.assertLess(self.line.until(State.SUSPECT, 2.0, sending=0.05), 0.6)
        self.assertLess(self.line.until(State.DEAD, 2.0, sending=0.05), 1.2)

    def test_answered_traffic_needs_few_pings(self) -> None:
        """Where data comes back, a ping a second is enough."""
        self.line.pings.clear()
        self.line.run(10.0, sending=0.01, hearing=True)
        self.assertLessEqual(len(self.line.pings), 11)
        self.assertIs(State.GOOD, self.line.health.state)

    def test_one_way_traffic_needs_some_more(self) -> None:
        """Where nothing comes back, pings stay within four a second and keep the path good."""
        self.line.pings.clear()
        self.line.run(10.0, sending=0.01)
        self.assertLessEqual(len(self.line.pings), 41)
        self.assertIs(State.GOOD, self.line.health.state)

    def test_one_way_breakage_is_noticed(self) -> None:
        """A path that only brings is dead for sending, though data arrives by it."""
        self.line.cut = True
        self.line.until(State.DEAD, 5.0, sending=0.05, hearing=True)

    def test_pings_are_as_large_as_data(self) -> None:
        """What judges the path is as large as what it carries."""
        self.line.pings.clear()
        self.line.run(2.0, sending=0.05)
        self.assertEqual({FULL}, {size for _, size in self.line.pings})

    def test_recovers_from_suspicion(self) -> None:
        """A short gap makes a path suspect and then good again, without its death."""
        self.line.run(1.0, sending=0.05, hearing=True)
        self.line.cut = True
        self.line.until(State.SUSPECT, 1.0, sending=0.05)
        self.line.cut = False
        self.assertLess(self.line.until(State.GOOD, 1.0, sending=0.05), 0.3)

    def test_dead_path_returns(self) -> None:
        """A dead path that answers again proves itself and is good within two seconds."""
        self.line.cut = True
        self.line.until(State.DEAD, 5.0, sending=0.05)
        self.line.run(20.0)
        self.line.cut = False
        self.assertLess(self.line.until(State.GOOD, 5.0), health.DEAD_INTERVAL + 0.5)

    def test_slower_path_is_kept(self) -> None:
        """A path whose round trip grows tenfold, as a full queue does it, is good again at once."""
        self.line.run(2.0, sending=0.05, hearing=True)
        self.line.rtt = 10 * RTT
        self.line.run(3.0, sending=0.05, hearing=True)
        for _ in range(100):
            self.line.run(0.1, sending=0.05, hearing=True)
            self.assertIs(State.GOOD, self.line.health.state)

    def test_dead_path_returns_slower(self) -> None:
        """A dead path that answers again, but slower than it did, is good again soon."""
        self.line.cut = True
        self.line.until(State.DEAD, 5.0, sending=0.05)
        self.line.cut = False
        self.line.rtt = 20 * RTT
        self.assertLess(self.line.until(State.GOOD, 10.0), 2 * health.DEAD_INTERVAL + 4 * 20 * RTT)

    def test_late_timer_judges_nothing(self) -> None:
        """After this machine has slept, a path is asked anew and not declared dead."""
        self.line.run(1.0, sending=0.05, hearing=True)
        self.line.health.sent(self.line.now, FULL)
        self.line.now += 3600
        pings = self.line.health.expire(self.line.now)
        self.assertEqual(1, len(pings))
        self.assertIs(State.GOOD, self.line.health.state)


class SizeTests(SynchronousTestCase):
    """What a path carries is found out, and followed."""

    def test_narrow_path(self) -> None:
        """A narrow path is good as soon as a wide one, and its size is found within two seconds."""
        sizes = (1200, 1232, 1252, 1300, 1392, 1432, 1444, 1451)
        for largest, sending in product(sizes, (None, 0.01)):
            line = Line(largest=largest)
            self.assertLess(line.until(State.GOOD, 1.0), 4 * RTT + 0.1)
            line.run(3.0, sending=sending, hearing=True)
            assert line.health.mtu is not None
            self.assertTrue(line.health.mtu.settled)
            self.assertLessEqual(line.size, largest)
            self.assertGreater(line.size, largest - STEP)
            self.assertIs(State.GOOD, line.health.state)

    def test_black_hole_under_traffic(self) -> None:
        """When what is long gets lost, the path is kept at the base at once, then at more."""
        line = Line()
        line.until(State.GOOD, 1.0)
        line.run(2.0, sending=0.05, hearing=True)
        line.largest = 1300
        start = line.now
        while line.size == FULL and line.now < start + 5:
            line.run(0.01, sending=0.01)
            self.assertIsNot(State.DEAD, line.health.state)
        self.assertEqual(BASE, line.size)
        self.assertLess(line.now - start, 0.8)
        line.run(3.0, sending=0.01)
        self.assertEqual(1296, line.size)
        self.assertIs(State.GOOD, line.health.state)

    def test_black_hole_beside_other_traffic(self) -> None:
        """It is found as well where something short is always answered."""
        line = Line()
        line.until(State.GOOD, 1.0)
        line.largest = 1300
        line.run(2.5, sending=0.01, hearing=True)
        self.assertLess(line.size, 1300)
        self.assertIs(State.GOOD, line.health.state)

    def test_cut_path_is_not_narrow(self) -> None:
        """A path that carries nothing dies, and is as wide as before when it returns."""
        line = Line()
        line.until(State.GOOD, 1.0)
        line.run(1.0, sending=0.05, hearing=True)
        line.cut = True
        line.until(State.DEAD, 5.0, sending=0.05)
        self.assertEqual(FULL, line.size)
        line.cut = False
        line.until(State.GOOD, 5.0, sending=0.05)
        self.assertEqual(FULL, line.size)

    def test_loss_is_not_narrowness(self) -> None:
        """At 5 % loss the size stays what it is for half an hour."""
        line = Line()
        line.until(State.GOOD, 1.0)
        line.lose = Random(7)
        for _ in range(180):
            line.run(10.0, sending=0.1, hearing=True)
            self.assertEqual(FULL, line.size)

    def test_wider_path_is_found(self) -> None:
        """A path that became wider is used so within ten minutes, or when the network changes."""
        for network_changes in (False, True):
            line = Line(largest=1300)
            line.run(5.0)
            line.largest = FULL
            if network_changes:
                line.health.doubt(line.now)
            line.run(1.0 if network_changes else RAISE)
            self.assertEqual(FULL, line.size)

    def test_search_ends(self) -> None:
        """Once settled a narrow path is pinged no more than a wide one."""
        line = Line(largest=1300)
        line.run(5.0)
        line.pings.clear()
        line.run(10.0, sending=0.01, hearing=True)
        self.assertLessEqual(len(line.pings), 11)


class IdleTests(SynchronousTestCase):
    """An idle path is kept alive, sparsely."""

    def test_few_packets_once_learned(self) -> None:
        """A path that survives its gaps is pinged less and less: under one and a half a minute."""
        line = Line()
        line.until(State.GOOD, 1.0)
        line.run(600)
        line.pings.clear()
        line.run(600)
        self.assertLessEqual(len(line.pings), 7)
        self.assertEqual({0}, {size for _, size in line.pings})

    def test_shorter_gaps_after_a_death(self) -> None:
        """A gap that the mapping did not survive is not tried again."""
        line = Line()
        line.until(State.GOOD, 1.0)
        line.run(300)
        before = line.health.keepalive.interval
        line.cut = True
        line.until(State.DEAD, 200)
        self.assertLess(line.health.keepalive.interval, before)

    def test_dead_for_long(self) -> None:
        """A path that never answers is pinged for a minute, and then only under traffic."""
        line = Line(trusted=True)
        line.cut = True
        line.run(5.0, sending=0.5)
        line.until(State.DEAD, 60)
        line.run(health.DEAD_PATIENCE + 5)
        line.pings.clear()
        line.run(600)
        self.assertEqual([], line.pings)
        line.run(5.0, sending=0.5)
        self.assertGreaterEqual(len(line.pings), 3)

    def test_unknown_pong_is_nothing(self) -> None:
        """A token that is not awaited proves nothing."""
        line = Line()
        self.assertFalse(line.health.ponged(12345, line.now))
        self.assertIs(State.PROVING, line.health.state)
