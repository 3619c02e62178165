"""Direct paths over TCP where UDP is blocked, on the simulated internet."""

from __future__ import annotations

from typing import Any

from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh.lab.sim.mesh import COORDINATOR, SimulatedPeer
from tunnelmesh.peer.answers.verdict import explain
from tunnelmesh.peer.reach import tcp_reach
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import Describe

BLOCKED = Describe((), mapping="blocked")


class TcpTests(WorldTestCase):
    """Two peers of which one at least has no UDP."""

    def both(self, *ways: str) -> bool:
        """Whether both use one of these ways."""
        here, there = self.peers
        return here.path_to("there") in ways and there.path_to("here") in ways

    def said(self, peer: SimulatedPeer, other: str) -> str:
        """How it explains its path."""
        found = explain(remote(peer, other), node(peer).describe(), node(peer).link.failures)
        return " ".join((found.summary, *found.evidence))

    def test_pairs(self) -> None:
        """All gateways that let TCP out are crossed, whatever they do to UDP."""
        for kind in ("udp-blocked", "open", "firewall", "full-cone", "symmetric"):
            self.setUp()
            here, there = self.pair("udp-blocked", kind, way="tcp")
            self.assertLess(self.internet.clock.elapsed, 6.0)
            remotes = [peer.status()["peers"][0]["path"]["remote"] for peer in (here, there)]
            self.assertEqual(remotes[1].split(":")[0], "198.51.100.1")
            self.assertIn(f"Direct over TCP: tcp {remotes[0]}, because", self.said(here, "there"))
            self.assertEqual(len(here.node.mesh.members.remotes["there"].history.changes), 2)

    def test_packets(self) -> None:
        """Packets pass, and later handshakes; the coordinator is not needed any more."""
        here, there = self.pair("udp-blocked", "port-restricted", way="tcp")
        self.coordinator.kill()
        self.internet.run(5)
        assert here.inner is not None
        assert there.inner is not None
        for _ in range(4):
            answered = here.inner.ping(there.inner.address)
            self.internet.run(50)
            self.assertLess(self.successResultOf(answered), 0.2)
        self.assertTrue(self.both("tcp"))

    def test_web_only(self) -> None:
        """Where TCP gets out to the web only, nothing is tried, and it is said."""
        here = self.add("here", "udp-blocked")
        there = self.add("there", "web-only")
        self.until(lambda: self.both("ssh", "websocket"))
        self.internet.run(60)
        self.assertTrue(self.both("ssh", "websocket"))
        self.assertEqual(remote(here, "there").pursuit.tcp.connects, 0)
        self.assertFalse(node(there).tcp.hopeful)
        self.assertIn("does not reach the coordinator's STUN ports", self.said(there, "here"))
        self.assertIn("there's network has not reached", self.said(here, "there"))

    def test_udp_comes_back(self) -> None:
        """UDP cut: TCP after a moment on the relay; UDP back: UDP."""
        here, _ = self.pair()
        self.nats[0].block(udp=True)
        remote(here, "there").seek()
        self.until(lambda: self.both("tcp"), 60)
        self.nats[0].unblock(udp=True)
        self.until(lambda: self.both("udp"), 60)

    def test_connection_ends(self) -> None:
        """A peer that vanishes is noticed at once by its connection's end; back, it is met anew."""
        here, there = self.pair("udp-blocked", "udp-blocked", way="tcp")
        there.kill()
        self.until(lambda: here.path_to("there") is None, 2)
        there.start()
        self.until(lambda: self.both("tcp"), 20)

    def test_another_outside_address(self) -> None:
        """A connection that carries nothing any more is left for the relay, then made anew."""
        here, there = self.pair("udp-blocked", "udp-blocked", way="tcp")
        assert here.inner is not None
        assert there.inner is not None
        self.nats[0].roam("198.51.100.77")
        here.inner.ping(there.inner.address).addErrback(lambda _: None)
        self.until(lambda: self.both("ssh"), 20)
        self.until(lambda: self.both("tcp"), 60)
        way = there.status()["peers"][0]["path"]["remote"]
        self.assertEqual(way.split(":")[0], "198.51.100.77")
        self.internet.run(70)
        self.assertEqual(len(remote(here, "there").ladder.ways), 2)

    def test_nothing_is_left(self) -> None:
        """Some time after the meeting no port listens, and the mapping is let go."""
        here, there = self.pair("udp-blocked", "udp-blocked", way="tcp")
        self.internet.run(tcp_reach.HOLD + 5)
        for peer in (here, there):
            self.assertEqual(node(peer).tcp.external, None)
            self.assertEqual(node(peer).tcp.door, None)
            self.assertEqual(peer.host.sockets.listeners.clear(), [])
            ports = {remote.port for _, remote in peer.host.sockets._connections}
            self.assertEqual(ports & {3478, 3479}, set())
        self.assertTrue(self.both("tcp"))

    def test_relay_only(self) -> None:
        """Who is told to use the relay tries no TCP, and is not met by it."""
        self.add("here", "udp-blocked", relay_only=True)
        there = self.add("there", "udp-blocked")
        self.until(lambda: self.both("ssh"))
        self.internet.run(30)
        self.assertTrue(self.both("ssh"))
        self.assertEqual(node(there).tcp.external, None)


class CandidateTests(WorldTestCase):
    """Where a member's word may make us connect to."""

    def test_refused(self) -> None:
        """Not to this machine, the coordinator, the mesh, many machines, or a well-known port."""
        here = self.add("here", "udp-blocked")
        self.add("there", "open")
        self.until(lambda: here.path_to("there") == "tcp")
        pursuit = remote(here, "there").pursuit.tcp
        connects = pursuit.connects
        mesh = str(remote(here, "there").address)
        for host, port in (
            ("127.0.0.1", 4000),
            ("224.0.0.1", 4000),
            ("0.0.0.0", 4000),
            ("2001:db8::1", 4000),
            (COORDINATOR[0], 4000),
            (mesh, 4000),
            ("192.0.2.1", 25),
        ):
            self.meet(here, Endpoint(host, port))
            self.internet.run(5)
            self.assertEqual(pursuit.connects, connects, host)

    def test_third_party(self) -> None:
        """Somebody who knows of nothing gets six connections at most, and a probe on none."""
        victim = self.internet.host("192.0.2.99", name="victim")
        here = self.add("here", "udp-blocked")
        self.add("there", "open")
        self.until(lambda: here.path_to("there") == "tcp")
        pursuit = remote(here, "there").pursuit.tcp
        connects = pursuit.connects
        self.meet(here, Endpoint(victim.addresses[0], 4000))
        self.internet.run(10)
        self.assertLessEqual(pursuit.connects - connects, 6)
        self.assertTrue(pursuit._attempt is None or pursuit._attempt.is_over)

    def meet(self, peer: SimulatedPeer, endpoint: Endpoint) -> None:
        """A meeting with who claims to be there."""
        own = node(peer).describe()
        self.assertIsNotNone(own.tcp)
        them: Any = Describe((), mapping="blocked", tcp=endpoint)
        remote(peer, "there").pursuit.tcp.meet(own, them, peer.host.seconds())
