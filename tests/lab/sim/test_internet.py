"""Lines, time, machines' misfortunes, and reproducibility."""

from __future__ import annotations

import txaio
from twisted.internet import task
from twisted.internet.protocol import DatagramProtocol
from twisted.python.monkey import MonkeyPatcher
from twisted.trial.unittest import SynchronousTestCase

from tests.lab.sim.parts import Hear, Reflect
from tunnelmesh.errors import LabError
from tunnelmesh.lab.sim import Host, Internet, Link, NotReachedError

SERVER = ("203.0.113.10", 3478)


class Ticker(DatagramProtocol):
    """Sends a datagram of a random size every tenth of a second."""

    def __init__(self, host: Host, internet: Internet) -> None:
        self._host = host
        self._internet = internet

    def startProtocol(self) -> None:
        self._tick()

    def _tick(self) -> None:
        assert self.transport is not None
        self.transport.write(self._internet.entropy(self._internet.random.randrange(99)), SERVER)
        self._host.callLater(0.1, self._tick)


def bad_weather(seed: int) -> Internet:
    """A scenario with everything that is random in it."""
    link = Link(latency=0.02, jitter=0.05, loss=0.2, reorder=0.2, duplicate=0.2)
    internet = Internet(seed, link)
    internet.host(SERVER[0]).listenUDP(SERVER[1], Reflect())
    for number in range(3):
        laptop = internet.nat(f"198.51.100.{number}", kind="symmetric").host()
        laptop.listenUDP(0, Ticker(laptop, internet))
    return internet


class ReproducibilityTests(SynchronousTestCase):
    """One seed, one story."""

    def story(self, seed: int) -> list[str]:
        """What happens in ten seconds of bad weather."""
        internet = bad_weather(seed)
        internet.run(10)
        return [str(event) for event in internet.trace]

    def test_same_seed(self) -> None:
        """The same seed gives the same packets at the same times."""
        self.assertEqual(self.story(1), self.story(1))

    def test_other_seed(self) -> None:
        """Another seed gives others."""
        self.assertNotEqual(self.story(1), self.story(2))


class LineTests(SynchronousTestCase):
    """What lines do to packets."""

    def setUp(self) -> None:
        self.internet = Internet(seed=2)
        self.server = self.internet.host(SERVER[0])
        self.laptop = self.internet.host("198.51.100.5")
        self.there, self.here = Hear(), Hear()
        self.server.listenUDP(SERVER[1], self.there)
        self.laptop.listenUDP(6000, self.here)

    def send(self, count: int, size: int = 10) -> int:
        """Send so many datagrams; returns how many arrive."""
        for number in range(count):
            self.here.transport.write(number.to_bytes(4, "big").ljust(size), SERVER)
        self.internet.run(5)
        return len(self.there.heard)

    def order(self) -> list[int]:
        """The numbers of the datagrams, as they arrived."""
        return [int.from_bytes(datagram[:4], "big") for datagram, _ in self.there.heard]

    def test_latency(self) -> None:
        """A packet takes the latencies of the lines on its way."""
        self.laptop.uplink = Link(latency=0.1)
        self.here.transport.write(b"?", SERVER)
        took = self.internet.run_until(lambda: self.there.heard, 1)
        self.assertAlmostEqual(took, 0.1 + self.internet.link.latency, places=5)

    def test_loss(self) -> None:
        """A line loses about as many packets as it is told to."""
        self.laptop.uplink = Link(loss=0.3)
        self.assertTrue(600 < self.send(1000) < 800)

    def test_order_is_kept(self) -> None:
        """A line without jitter keeps the order."""
        self.send(100)
        self.assertEqual(self.order(), list(range(100)))

    def test_reorder_and_duplicate(self) -> None:
        """A line that reorders and duplicates does both, and loses nothing."""
        self.laptop.uplink = Link(reorder=0.2, duplicate=0.2)
        self.assertTrue(1100 < self.send(1000) < 1300)
        self.assertNotEqual(self.order(), sorted(self.order()))
        self.assertEqual(set(self.order()), set(range(1000)))

    def test_rate(self) -> None:
        """A slow line delays, and drops what its queue cannot hold."""
        self.laptop.uplink = Link(latency=0, rate=100_000, queue=0.5)
        arrived = self.send(100, size=972)
        self.assertEqual(arrived, 51)

    def test_mtu(self) -> None:
        """A line with a small MTU carries pings but not data."""
        self.laptop.uplink = Link(mtu=1280)
        self.assertEqual(self.send(1, size=1252), 1)
        self.assertEqual(self.send(1, size=1253), 1)
        self.assertIn("too large", self.internet.trace.tail(1))


class WaitingTests(SynchronousTestCase):
    """run_until tells how long it took, or what happened instead."""

    def test_reached(self) -> None:
        """It returns the simulated seconds."""
        internet = Internet()
        done: list[bool] = []
        internet.clock.callLater(3, done.append, True)
        self.assertAlmostEqual(internet.run_until(lambda: done, 10), 3, places=5)

    def test_not_reached(self) -> None:
        """It fails with the seed and the last packets."""
        internet = bad_weather(99)
        error = self.assertRaises(NotReachedError, internet.run_until, lambda: False, 2)
        self.assertIn("seed 99", str(error))
        self.assertIn("> 203.0.113.10:3478  UDP", str(error))
        self.assertAlmostEqual(internet.clock.elapsed, 2, places=5)

    def test_diagram(self) -> None:
        """The trace can be drawn as a sequence diagram."""
        internet = Internet(seed=1)
        internet.host(SERVER[0], name="server").listenUDP(SERVER[1], Reflect())
        hear = Hear()
        internet.nat("198.51.100.1").host(name="laptop").listenUDP(6000, hear)
        hear.transport.write(b"hello", SERVER)
        internet.run(1)
        lines = internet.trace.mermaid().splitlines()
        self.assertEqual(lines[0], "sequenceDiagram")
        self.assertIn("    participant p1 as server", lines)
        self.assertIn("    participant p0 as laptop", lines)
        self.assertIn("    p0->>p1: 0.020 UDP 5 bytes", lines)

    def test_patches_are_undone(self) -> None:
        """What is installed for a scenario is gone after it."""
        before = (txaio.config.loop, task._theCooperator)
        internet = Internet()
        patcher = MonkeyPatcher(*internet.patches())
        patcher.patch()
        self.assertIs(txaio.config.loop, internet.clock)
        patcher.restore()
        self.assertEqual((txaio.config.loop, task._theCooperator), before)


class MisfortuneTests(SynchronousTestCase):
    """Machines crash, sleep, are killed and carried about."""

    def setUp(self) -> None:
        self.internet = Internet(seed=2)
        self.heard = Hear()
        self.internet.host(SERVER[0]).listenUDP(SERVER[1], self.heard)
        self.nat = self.internet.nat("198.51.100.1")
        self.laptop = self.nat.host(name="laptop")
        self.ticker = Ticker(self.laptop, self.internet)
        self.laptop.listenUDP(6000, self.ticker)
        self.internet.run(1)
        self.assertGreater(self.count(), 8)

    def count(self) -> int:
        """Datagrams since the last count."""
        count = len(self.heard.heard)
        self.heard.heard.clear()
        return count

    def let_arrive(self) -> None:
        """Let what is on its way arrive, and forget it."""
        self.internet.run(0.05)
        self.count()

    def test_sleep(self) -> None:
        """A sleeping machine does nothing, and goes on when it wakes."""
        self.laptop.sleep(60)
        self.internet.run(59)
        self.assertLessEqual(self.count(), 1)
        self.internet.run(2)
        self.assertGreater(self.count(), 8)

    def test_crash(self) -> None:
        """A crashed machine is silent for ever; booted, it is empty."""
        self.laptop.crash()
        self.let_arrive()
        self.assertEqual(self.laptop.getDelayedCalls(), [])
        self.laptop.boot()
        self.internet.run(10)
        self.assertEqual(self.count(), 0)
        self.laptop.listenUDP(6000, Ticker(self.laptop, self.internet))
        self.internet.run(1)
        self.assertGreater(self.count(), 8)

    def test_kill(self) -> None:
        """A killed process's sockets send no more, and its ports are free at once."""
        self.laptop.kill()
        self.let_arrive()
        assert self.ticker.transport is not None
        self.ticker.transport.write(b"from the grave", SERVER)
        self.internet.run(1)
        self.assertEqual(self.count(), 0)
        self.laptop.listenUDP(6000, Hear())

    def test_stop(self) -> None:
        """A program that stops its reactor is gone."""
        self.laptop.stop()
        self.let_arrive()
        self.internet.run(1)
        self.assertEqual(self.count(), 0)

    def test_move(self) -> None:
        """A machine that moves keeps its sockets, and its watchers hear of it."""
        told: list[tuple[str, ...]] = []
        self.laptop.watchers.append(lambda: told.append(self.laptop.addresses))
        self.laptop.move_to(self.internet, "198.51.100.99")
        self.let_arrive()
        self.internet.run(1)
        self.assertEqual(told, [("198.51.100.99",)])
        self.assertEqual(set(self.heard.sources), {("198.51.100.99", 6000)})

    def test_unplug(self) -> None:
        """A machine without a cable sends nothing, and its address is free."""
        self.laptop.unplug()
        self.let_arrive()
        self.internet.run(1)
        self.assertEqual(self.count(), 0)
        self.assertEqual(self.nat.host().addresses, ("192.168.1.2",))

    def test_address_taken(self) -> None:
        """Two machines cannot have the same address."""
        self.assertRaises(LabError, self.nat.host, "192.168.1.2")
