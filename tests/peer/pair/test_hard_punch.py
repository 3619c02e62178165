"""Hard NATs on the simulated internet: direct where it can be, relayed at once elsewhere."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh.lab.sim.mesh import SimulatedPeer
from tunnelmesh.nat.allocation import Choice
from tunnelmesh.nat.birthday import MOST_PROBES
from tunnelmesh.nat.tactics import Approach
from tunnelmesh.peer.answers.verdict import explain
from tunnelmesh.peer.pair.hard_punch import AN_HOUR, BURST, HardPunch, HardPunching
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import Describe, Meet, Punched, Signal, Tactic

AT_REST = 4
"""UDP sockets of a peer: the main ones for IPv4 and IPv6, one that asks the router for a port, and
one for each path of its own."""


class HardTestCase(WorldTestCase):
    """Two peers."""

    def meet(self, one: str, other: str, **changes: Any) -> tuple[SimulatedPeer, SimulatedPeer]:
        """Two peers behind such NATs, just started; *changes* are of those that are symmetric."""
        peers = []
        for name, kind in (("here", one), ("there", other)):
            peers.append(self.add(name, kind))
            if changes and kind.startswith("symmetric"):
                self.nats[-1].change(kind, **changes)
        here, there = peers
        return here, there

    def direct(self, limit: float) -> None:
        """Wait until both ends are direct."""
        here, there = self.peers
        self.until(lambda: here.path_to("there") == "udp" == there.path_to("here"), limit)

    def styles(self) -> set[str | None]:
        """How the two last tried to guess ports."""
        here, there = self.peers
        last = [remote(here, "there").pursuit.hard.last, remote(there, "here").pursuit.hard.last]
        return {None if punch is None else punch.tactic.style for punch in last}

    def sockets(self) -> list[int]:
        """UDP sockets that each has open."""
        return [len(peer.host.datagram_ports._bound) for peer in self.peers]

    def ping(self) -> None:
        """One to the other, inside the mesh."""
        here, there = self.peers
        assert here.inner is not None
        assert there.inner is not None
        done: list[float] = []
        here.inner.ping(there.inner.address).addCallback(done.append)
        self.until(lambda: done, 5)


class PairTests(HardTestCase):
    """Every pair of which one at least is symmetric, and the other lets in only exact endpoints."""

    def check(self, one: str, other: str, style: Approach, limit: float, **changes: Any) -> None:
        """Direct within *limit* seconds, in that way, and only the path's socket is left over."""
        here, there = self.meet(one, other, **changes)
        self.direct(limit)
        self.assertEqual(self.styles(), {style})
        self.internet.run(10)
        self.assertLessEqual(max(self.sockets()), AT_REST)
        self.ping()
        for peer, name in ((here, "there"), (there, "here")):
            self.assertLessEqual(remote(peer, name).pursuit.hard.probes(), MOST_PROBES)
            self.assertEqual(remote(peer, name).pursuit.hard.last.outcome, "it found a way")
        self.assertEqual(self.hard.hit, 1)

    @property
    def hard(self) -> Any:
        """The coordinator's hard meetings."""
        return self.coordinator.service.signalling.rendezvous.hard

    def test_sequence_and_cone(self) -> None:
        """The cone aims at the next ports."""
        self.check("symmetric-sequential", "port-restricted", Approach.PREDICT, 5)

    def test_sequence_and_firewall(self) -> None:
        """So does a machine behind a firewall, and in any step."""
        self.check("firewall", "symmetric-sequential", Approach.PREDICT, 5, step=-2)

    def test_two_sequences(self) -> None:
        """Both aim."""
        self.check("symmetric-sequential", "symmetric-sequential", Approach.PREDICT, 5)

    def test_two_busy_sequences(self) -> None:
        """Both aim, while others use twenty ports a second at each."""
        kind = "symmetric-sequential"
        self.meet(kind, kind, others=20.0)
        self.direct(10)
        self.assertEqual(self.styles(), {Approach.PREDICT})

    def test_random_and_cone(self) -> None:
        """Many sockets against many probes."""
        self.check("symmetric", "port-restricted", Approach.BIRTHDAY, 12)

    def test_random_and_linux(self) -> None:
        """A NAT that keeps the port is a cone."""
        self.check("linux", "symmetric", Approach.BIRTHDAY, 12)

    def test_block(self) -> None:
        """A block of ports takes fewer of both."""
        here, there = self.meet("symmetric", "port-restricted", block=2048)
        self.direct(5)
        opened = remote(here, "there").pursuit.hard.last
        self.assertLess(opened.tactic.sockets, 160)
        self.assertLess(remote(there, "here").pursuit.hard.probes(), 500)


class RelayedTests(HardTestCase):
    """Pairs for which nothing is tried that would be in vain."""

    def check(self, one: str, other: str, words: str, **changes: Any) -> None:
        """Relayed at once, without a packet spent on guessing, and it says why."""
        here, there = self.meet(one, other, **changes)
        self.until(lambda: here.path_to("there") == "ssh" == there.path_to("here"), 3)
        self.internet.run(60)
        self.ping()
        self.assertEqual((here.path_to("there"), there.path_to("here")), ("ssh", "ssh"))
        for peer, name in ((here, "there"), (there, "here")):
            self.assertEqual(node(peer).hard.probes, 0)
            found = explain(remote(peer, name), node(peer).describe(), {})
            self.assertIn(words, found.summary)

    def test_two_random(self) -> None:
        """Neither can know the other's port."""
        self.check("symmetric", "symmetric", "hundred thousand probes")

    def test_random_and_sequence(self) -> None:
        """One's can be known, but changes with each guess of the other's."""
        self.check("symmetric", "symmetric-sequential", "both of you")

    def test_same_network(self) -> None:
        """Two behind one NAT are not to be met through it."""
        nat = self.internet.nat("198.51.100.1", kind="symmetric")
        for name in ("here", "there"):
            peer = SimulatedPeer(self.internet, nat.host(name=name), self.folder / name, self.token)
            self.peers.append(peer)
            peer.start()
        self.direct(5)
        self.assertEqual(self.styles(), {None})


class AllocationTests(WorldTestCase):
    """What a peer finds out about its NAT's ports."""

    def test_kinds(self) -> None:
        """Each way to choose ports has its name."""
        for number, (kind, changes, choice) in enumerate(
            (
                ("linux", {}, Choice.PRESERVED),
                ("port-restricted", {}, Choice.ONE),
                ("symmetric", {}, Choice.RANDOM),
                ("symmetric", {"block": 1024}, Choice.BLOCK),
                ("symmetric-sequential", {"step": 2}, Choice.SEQUENTIAL),
                ("firewall", {}, Choice.UNKNOWN),
            )
        ):
            peer = self.add(f"peer{number}", kind)
            if changes:
                self.nats[-1].change(kind, **changes)
            self.until(lambda peer=peer: peer.node and peer.node.network.classified)
            found = node(peer).network.behaviour.allocation
            self.assertEqual((found.kind, found.hosts), (choice, 1))
            self.assertIn("ports", peer.status()["nat"])

    def test_pool(self) -> None:
        """Several external addresses are noticed."""
        nat = self.internet.nat("198.51.100.1", kind="symmetric", pool=3)
        peer = SimulatedPeer(self.internet, nat.host(name="p"), self.folder / "p", self.token)
        peer.start()
        self.until(lambda: peer.node and peer.node.network.classified)
        self.assertEqual(node(peer).network.behaviour.allocation.hosts, 3)


class AfterwardsTests(HardTestCase):
    """A path of its own socket is a path like others."""

    def test_nat_forgets(self) -> None:
        """The NAT is restarted: soon it is direct again, and the old socket is closed."""
        here, there = self.meet("symmetric-sequential", "port-restricted")
        self.direct(5)
        before = remote(here, "there").ladder.current
        self.nats[0].forget()
        assert here.inner is not None
        assert there.inner is not None
        for _ in range(20):
            here.inner.ping(there.inner.address).addErrback(lambda _: None)
            self.internet.run(0.2)
        self.direct(30)
        self.internet.run(120)
        self.ping()
        self.direct(1)
        self.assertLessEqual(max(self.sockets()), AT_REST + 2)
        self.assertNotIn(before, remote(here, "there").ladder.ways)

    def test_idle(self) -> None:
        """It is kept open while nobody uses it."""
        self.meet("symmetric", "port-restricted")
        self.direct(12)
        self.internet.run(600)
        self.direct(0.1)
        self.ping()

    def test_stop(self) -> None:
        """A peer that stops in the middle of it leaves nothing open."""
        here, _ = self.meet("symmetric", "port-restricted")
        self.until(lambda: node(here).hard.probes > 100 if here.node else False)
        assert here.service is not None
        here.service.stopService()
        self.internet.run(15)
        self.assertEqual(self.sockets()[0], 0)
        self.assertEqual(here.host.getDelayedCalls(), [])


class FakeUdp:
    """A main socket that remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[Endpoint] = []

    def send(self, datagrams: list[bytes], remote: Endpoint) -> None:
        """Remember."""
        self.sent += [remote] * len(datagrams)


class FakeSeal:
    """Seals nothing."""

    def seal(self, kind: int, token: int, size: int) -> bytes:
        """A ping."""
        return b"ping"


PROBING = Tactic(Approach.BIRTHDAY, low=1024, high=65535)


class LimitTests(SynchronousTestCase):
    """What a coordinator can have a peer do."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.udp = FakeUdp()
        self.rtt: float | None = 0.02
        self.checks = 0
        self.ended: list[HardPunch] = []
        self.punching = HardPunching(
            self.clock,
            self.udp,
            None,  # type: ignore[arg-type]
            count(1).__next__,
            Random(1),
            lambda: self.rtt,
            self.check_link,
        )

    def check_link(self) -> None:
        """Count."""
        self.checks += 1

    def begin(self, host: str = "198.51.100.9") -> HardPunch:
        """Start one that sends to random ports."""
        seal: Any = FakeSeal()
        return self.punching.begin(PROBING, host, self.clock.seconds(), seal, self.ended.append)

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.pump([0.01] * round(seconds * 100))

    def test_one_at_a_time(self) -> None:
        """A second one ends the first."""
        first = self.begin()
        self.run_for(1)
        second = self.begin("198.51.100.10")
        sent = len(self.udp.sent)
        self.run_for(15)
        self.assertEqual((first.outcome, first.whole), ("the next one began", False))
        self.assertEqual((second.outcome, second.whole), ("no probe was answered", True))
        self.assertEqual(self.ended, [first, second])
        self.assertEqual(len(self.udp.sent) - sent, MOST_PROBES)
        self.assertEqual({to.host for to in self.udp.sent[sent:]}, {"198.51.100.10"})

    def test_an_hour(self) -> None:
        """However often it is asked for, only so many packets leave in an hour."""
        for _ in range(360):
            self.begin()
            self.run_for(10)
        self.assertLessEqual(len(self.udp.sent), BURST + AN_HOUR)
        self.assertGreater(len(self.udp.sent), BURST)
        self.assertIn("allowance", str(self.ended[-1].outcome))

    def test_distress(self) -> None:
        """It ends when the link to the coordinator becomes slow, or is in doubt."""
        for rtt in (1.0, None):
            self.rtt = 0.02
            punch = self.begin()
            self.run_for(2)
            self.assertIsNone(punch.outcome)
            self.rtt = rtt
            self.run_for(1)
            self.assertIn("slow", str(punch.outcome))
            self.assertLess(punch.probes, 700)
        self.assertGreater(self.checks, 4)

    def test_unmeasured_link(self) -> None:
        """Without a measurement there is nothing to compare with."""
        self.rtt = None
        self.begin()
        self.run_for(15)
        self.assertEqual(len(self.udp.sent), MOST_PROBES)


class HostileMeetTests(HardTestCase):
    """Meetings that a coordinator should not arrange."""

    def test_nobody_else(self) -> None:
        """Nothing is fired at what is not public, at the coordinator, or at ourselves."""
        here, _ = self.meet("symmetric", "symmetric")
        self.until(lambda: here.path_to("there") == "ssh")
        self.internet.run(3)
        cone = Describe((), "endpoint-independent", "address-and-port-dependent")
        told: list[Signal] = []
        self.patch(node(here).link, "send", told.append)
        for host in (
            *("192.168.1.1", "10.0.0.1", "127.0.0.1", "224.0.0.1", "0.0.0.0", "100.96.0.3"),
            *("203.0.113.10", "198.51.100.1"),
        ):
            them = replace(cone, external=Endpoint(host, 4000))
            address = remote(here, "there").address
            node(here).signal_received(Meet(address, 1, 0.0, them, PROBING))
            self.internet.run(1)
            self.assertIn(Punched(1, direct=False, probes=0, whole=False), told)
            told.clear()
        self.assertEqual(node(here).hard.probes, 0)
        them = replace(cone, external=Endpoint("192.0.2.66", 4000))
        node(here).signal_received(Meet(address, 1, 0.0, them, PROBING))
        self.internet.run(60)
        self.assertEqual(node(here).hard.probes, MOST_PROBES)

    def test_tactic_for_a_plain_pair(self) -> None:
        """Where plain punching works, nothing else is done."""
        here, _ = self.pair("port-restricted", "full-cone")
        victim = Describe((), "endpoint-independent", external=Endpoint("192.0.2.66", 53))
        address = remote(here, "there").address
        node(here).signal_received(Meet(address, 1, 0.0, victim, PROBING))
        self.internet.run(15)
        self.assertEqual(node(here).hard.probes, 0)
