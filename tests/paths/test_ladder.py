"""Tests for :mod:`tunnelmesh.paths.ladder`."""

from itertools import count
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.paths.health import DEAD_PATIENCE, State
from tunnelmesh.paths.ladder import MAX_WAYS, Ladder, SendPing, Switched
from tunnelmesh.paths.selection import RELAY, Flow, Way
from tunnelmesh.wire.endpoint import Endpoint

FULL = 1452
FAR = Endpoint("198.51.100.1", 4242)
NEAR = Endpoint("192.168.1.7", 4242)
STREAM = Flow("tcp", 5000, Endpoint("198.51.100.1", 4343))


class World:
    """A ladder whose ways have round trips, and can be cut."""

    def __init__(self, **rtts: float) -> None:
        self.now = 50.0
        self.ladder = Ladder(count(1).__next__, FULL)
        self.rtt: dict[Way, float] = {
            RELAY: 0.08,
            FAR: 0.03,
            NEAR: 0.001,
            STREAM: 0.01,
        }
        self.cut: set[Way] = set()
        self.switches: list[Switched] = []
        self._pongs: list[tuple[float, Way, int]] = []

    def note(self, outputs: list[Switched]) -> None:
        """Remember what was switched."""
        self.switches += outputs

    def run(self, seconds: float, *, sending: float | None = None) -> None:
        """Let time pass; with *sending*, data goes out at that interval and is answered."""
        end = self.now + seconds
        next_data = self.now if sending else end
        while True:
            self._pongs.sort()
            deadline = self.ladder.deadline
            times = [next_data, end] + ([] if deadline is None else [deadline])
            times += [at for at, _, _ in self._pongs[:1]]
            self.now = max(self.now, min(times))
            if self.now >= end:
                return
            if self._pongs and self._pongs[0][0] <= self.now:
                _, way, token = self._pongs.pop(0)
                if way not in self.cut:
                    self.note(self.ladder.ponged(way, token, self.now)[1])
            if sending and self.now >= next_data:
                self.ladder.sent(self.now, FULL)
                if self.ladder.current is not None and self.ladder.current not in self.cut:
                    self.note(self.ladder.heard(self.ladder.current, self.now))
                next_data += sending
            if deadline is not None and self.now >= deadline:
                for output in self.ladder.expire(self.now):
                    if isinstance(output, SendPing):
                        if output.way not in self.cut:
                            at = self.now + self.rtt[output.way]
                            self._pongs.append((at, output.way, output.token))
                    else:
                        self.note([output])


class LadderTests(SynchronousTestCase):
    """Climbing and falling."""

    def setUp(self) -> None:
        """The relay is open."""
        self.world = World()
        self.ladder = self.world.ladder
        self.world.note(self.ladder.relay_opened(self.world.now))

    def find(self, way: Way) -> None:
        """A probe to an endpoint was answered."""
        self.ladder.found(way, self.world.now, self.world.rtt[way])

    def test_relay_at_once(self) -> None:
        """What the relay offers is taken without proof."""
        self.assertEqual(RELAY, self.ladder.current)

    def test_direct_path_is_climbed_when_proven(self) -> None:
        """A direct path is taken after it is proven, not before, and without an outage."""
        self.find(FAR)
        self.assertEqual(RELAY, self.ladder.current)
        self.world.run(0.5)
        self.assertEqual(FAR, self.ladder.current)
        self.assertIsNone(self.world.switches[-1].failed_since)

    def test_shorter_path_replaces_a_longer_one(self) -> None:
        """Of two direct paths the clearly quicker one is taken, and kept."""
        self.find(FAR)
        self.world.run(0.5)
        self.find(NEAR)
        self.world.run(0.5)
        self.assertEqual(NEAR, self.ladder.current)
        count_before = len(self.world.switches)
        self.world.run(60, sending=0.1)
        self.assertEqual(count_before, len(self.world.switches))

    def test_tcp_is_between(self) -> None:
        """A connection is left for a UDP path however slow, and its end leads back to the relay."""
        self.find(STREAM)
        self.world.run(0.5)
        self.assertEqual(STREAM, self.ladder.current)
        self.assertEqual((self.ladder.is_direct, self.ladder.is_best), (True, False))
        self.find(FAR)
        self.world.run(0.5)
        self.assertEqual(FAR, self.ladder.current)
        self.assertTrue(self.ladder.is_best)
        self.world.note(self.ladder.lost(FAR, self.world.now, "gone"))
        self.assertEqual(STREAM, self.ladder.current)
        self.world.note(self.ladder.lost(STREAM, self.world.now, "the connection was closed"))
        self.assertEqual(RELAY, self.ladder.current)
        self.assertEqual("the connection was closed", self.world.switches[-1].cause)

    def test_cut_path_is_doubled_then_left(self) -> None:
        """A path that goes silent under traffic is doubled over the relay, then left for it."""
        self.find(FAR)
        self.world.run(1.0, sending=0.05)
        self.world.cut.add(FAR)
        for _ in range(200):
            self.world.run(0.01, sending=0.01)
            if self.ladder.doubled:
                break
        self.assertTrue(self.ladder.doubled)
        self.assertEqual(FAR, self.ladder.current)
        self.world.run(1.0, sending=0.05)
        self.assertEqual(RELAY, self.ladder.current)
        self.assertFalse(self.ladder.doubled)
        self.assertIsNotNone(self.world.switches[-1].failed_since)

    def test_returns_when_the_path_does(self) -> None:
        """The direct path is taken up again as soon as it answers."""
        self.find(FAR)
        self.world.run(1.0, sending=0.05)
        self.world.cut.add(FAR)
        self.world.run(10.0, sending=0.05)
        self.assertEqual(RELAY, self.ladder.current)
        self.world.cut.clear()
        self.world.run(2.0, sending=0.05)
        self.assertEqual(FAR, self.ladder.current)

    def test_dead_path_is_forgotten(self) -> None:
        """A path dead for long is not pinged for ever."""
        self.find(FAR)
        self.world.run(1.0)
        self.world.cut.add(FAR)
        self.world.run(60.0)
        self.world.run(DEAD_PATIENCE + 10)
        self.assertNotIn(FAR, self.ladder.ways)

    def test_direct_path_outlives_the_coordinator(self) -> None:
        """Losing the relay does not touch a direct path."""
        self.find(FAR)
        self.world.run(1.0)
        self.assertEqual([], self.ladder.relay_closed(self.world.now, "gone"))
        self.world.run(5.0, sending=0.05)
        self.assertEqual(FAR, self.ladder.current)

    def test_nothing_left(self) -> None:
        """Without any way there is no current one, and the relay is taken when it comes back."""
        self.world.note(self.ladder.relay_closed(self.world.now, "gone"))
        self.assertIsNone(self.ladder.current)
        self.world.note(self.ladder.relay_opened(self.world.now))
        self.assertEqual(RELAY, self.ladder.current)

    def test_ways_are_bounded(self) -> None:
        """A peer that shows up at ever new endpoints does not fill the memory."""
        self.find(FAR)
        self.world.run(1.0)
        for port in range(1, 200):
            self.ladder.found(Endpoint("203.0.113.9", port), self.world.now, 0.01)
        self.assertLessEqual(len(self.ladder.ways), MAX_WAYS)
        self.assertIn(FAR, self.ladder.ways)
        self.assertIn(RELAY, self.ladder.ways)

    def test_pong_by_another_way_counts_nothing(self) -> None:
        """A token awaited on one way proves nothing about another."""
        self.find(FAR)
        pings = [o for o in self.ladder.expire(self.world.now) if isinstance(o, SendPing)]
        token = next(ping.token for ping in pings if ping.way == FAR)
        self.assertEqual((False, []), self.ladder.ponged(RELAY, token, self.world.now))

    def test_doubt_asks_every_way(self) -> None:
        """When the network changes every way is pinged at once."""
        self.find(FAR)
        self.world.run(1.0)
        self.ladder.doubt(self.world.now)
        pinged = {o.way for o in self.ladder.expire(self.world.now) if isinstance(o, SendPing)}
        self.assertEqual({FAR, RELAY}, pinged)

    @given(st.integers(0, 2**32))
    @settings(max_examples=60, deadline=None, derandomize=True)
    def test_always_by_a_live_way(self, seed: int) -> None:
        """Whatever is cut and mended, a few seconds later traffic goes by a way that works."""
        random = Random(seed)
        world = World()
        ways: list[Way] = [FAR, NEAR]
        world.note(world.ladder.relay_opened(world.now))
        for _ in range(6):
            world.cut = {way for way in ways if random.random() < 0.5}
            for way in ways:
                if way not in world.cut:
                    world.ladder.found(way, world.now, world.rtt[way])
            world.run(4.0, sending=random.choice([0.02, 0.1, 0.5]))
            self.assertNotIn(world.ladder.current, world.cut)
            alive = [way for way in ways if way not in world.cut]
            expected = min(alive, key=world.rtt.__getitem__, default=RELAY)
            self.assertEqual(expected, world.ladder.current, f"seed {seed}")
            self.assertIs(State.GOOD, world.ladder.ways[expected].state)


class KeepaliveTests(SynchronousTestCase):
    """What is learned about one way's idle lifetime serves the next one to that address."""

    def setUp(self) -> None:
        self.ladder = Ladder(count(1).__next__, FULL)
        self.ladder.found(FAR, 0.0, 0.03)
        self.ladder.ways[FAR].keepalive.failed(20.0)
        self.learned = self.ladder.ways[FAR].keepalive.interval

    def interval(self, host: str) -> float:
        """That of a new way."""
        way = Endpoint(host, 999)
        self.ladder.found(way, 1.0, 0.03)
        return self.ladder.ways[way].keepalive.interval

    def test_another_port(self) -> None:
        """The NAT gave out another port: it forgets that one as soon."""
        self.assertEqual(self.interval(FAR.host), self.learned)
        self.assertGreater(self.interval(NEAR.host), self.learned)

    def test_another_network(self) -> None:
        """In another network nothing is known."""
        self.ladder.doubt(1.0)
        self.assertGreater(self.interval(FAR.host), self.learned)
