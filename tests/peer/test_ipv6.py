"""Dual-stack peers on the simulated internet."""

from __future__ import annotations

from typing import Any

from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh.lab.sim.mesh import SimulatedPeer
from tunnelmesh.peer.answers.verdict import explain
from tunnelmesh.wire.signal import REFLEXIVE

COORDINATOR6 = "2001:db8::a"


class Ipv6TestCase(WorldTestCase):
    """Peers that may have IPv6 as well."""

    def add6(self, name: str, kind: str, *addresses: str, **config: Any) -> SimulatedPeer:
        """One more peer, behind a gateway of its own, with these addresses beside a private one."""
        nat = self.internet.nat(f"198.51.100.{len(self.nats) + 1}", kind=kind)
        self.nats.append(nat)
        host = nat.host("192.168.1.2", *addresses, name=name)
        peer = SimulatedPeer(self.internet, host, self.folder / name, self.token, **config)
        self.peers.append(peer)
        peer.start()
        return peer

    def pair6(self, *kinds: str) -> tuple[SimulatedPeer, SimulatedPeer]:
        """Two dual-stack peers."""
        here = self.add6("here", kinds[0], "2001:db8:1::2")
        return here, self.add6("there", kinds[1], "2001:db8:2::2")

    def remotes(self, here: SimulatedPeer, there: SimulatedPeer) -> tuple[str | None, str | None]:
        """Which address each of them reaches the other at."""
        ways = (
            remote(one, other).path_remote
            for one, other in ((here, "there"), (there, "here"))
            if one.node and other in one.node.mesh.members.remotes
        )
        return tuple(None if way is None else way.host for way in ways)  # type: ignore[return-value]

    def talk(self, here: SimulatedPeer, there: SimulatedPeer) -> None:
        """Let a ping pass inside the mesh five times a second."""
        here.inner.ping(there.inner.address).addErrback(lambda _: None)
        here.host.callLater(0.2, self.talk, here, there)


class Ipv6Tests(Ipv6TestCase):
    """Over IPv6 nothing translates; firewalls let in answers only."""

    def test_firewalls(self) -> None:
        """Two behind random symmetric NATs, and IPv6 firewalls, meet over IPv6 at once."""
        here, there = self.pair6("symmetric", "symmetric")
        self.until(lambda: here.path_to("there") == there.path_to("here") == "udp", 3)
        self.assertEqual(self.remotes(here, there), ("2001:db8:2::2", "2001:db8:1::2"))

    def test_no_reason_for_hope(self) -> None:
        """Without IPv6 on both sides, such a pair knows that it is hopeless; with it, it is not."""
        here = self.add6("here", "symmetric", "2001:db8:1::2")
        there = self.add6("there", "symmetric")
        classified = lambda peer: peer.node and peer.node.network.classified  # noqa: E731
        self.until(lambda: classified(here) and classified(there))
        node(here).mesh.network_changed()
        self.until(lambda: not remote(here, "there").pursuit.hopeful)
        self.assertEqual(here.path_to("there"), "ssh")
        told = explain(remote(here, "there"), node(here).describe(), {})
        self.assertIn("with IPv6", told.evidence[0])
        self.assertIn(
            "switch on IPv6 in there's network: you have it, and it has no NAT", told.advice
        )
        there.host.unplug()
        there.host.move_to(self.nats[1], "192.168.1.2", "2001:db8:2::2")
        self.until(lambda: here.path_to("there") == there.path_to("here") == "udp", 10)

    def test_either_family_fails(self) -> None:
        """A path over IPv6 that breaks is replaced by one over IPv4, at both ends."""
        here, there = self.pair6("port-restricted", "port-restricted")
        self.until(lambda: self.remotes(here, there) == ("2001:db8:2::2", "2001:db8:1::2"))
        self.talk(here, there)
        here.host.move_to(self.nats[0], "192.168.1.2")
        self.until(lambda: self.remotes(here, there) == ("198.51.100.2", "198.51.100.1"), 5)

    def test_a_better_way_appears(self) -> None:
        """IPv6 that comes later is taken, though the path over IPv4 goes on."""
        here = self.add6("here", "port-restricted")
        there = self.add6("there", "port-restricted", "2001:db8:2::2")
        self.until(lambda: self.remotes(here, there) == ("198.51.100.2", "198.51.100.1"))
        here.host.move_to(self.nats[0], "192.168.1.2", "2001:db8:1::2")
        self.until(lambda: self.remotes(here, there) == ("2001:db8:2::2", "2001:db8:1::2"), 5)
        self.internet.run(5)
        met = remote(here, "there").pursuit.attempts
        self.internet.run(60)
        self.assertEqual(remote(here, "there").pursuit.attempts, met)

    def test_roaming(self) -> None:
        """A gateway's new IPv4 address does not disturb a path over IPv6."""
        here, there = self.pair6("port-restricted", "port-restricted")
        self.until(lambda: self.remotes(here, there) == ("2001:db8:2::2", "2001:db8:1::2"))
        self.nats[0].roam("198.51.100.9")
        self.talk(here, there)
        self.internet.run(10)
        self.assertEqual(self.remotes(here, there), ("2001:db8:2::2", "2001:db8:1::2"))

    def test_reflexive(self) -> None:
        """The coordinator's STUN server answers over IPv6 where it has that, unasked."""
        self.coordinator.kill()
        self.coordinator.host.move_to(self.internet, *self.coordinator.host.addresses, COORDINATOR6)
        self.coordinator.start()
        here = self.add6("here", "symmetric", "2001:db8:1::2")
        self.until(lambda: here.node and here.node.network.external6)
        seen = node(here).network.external6
        self.assertEqual(seen, ("2001:db8:1::2", node(here).udp.local_port6))
        kinds = [
            each.kind for each in node(here).describe().candidates if ":" in each.endpoint.host
        ]
        self.assertNotIn(REFLEXIVE, kinds)
        self.until(lambda: here.status()["nat"]["flavour"] == "symmetric")

    def test_without(self) -> None:
        """One without IPv6 tells none, asks none, and meets over IPv4."""
        here = self.add6("here", "port-restricted")
        there = self.add6("there", "port-restricted", "2001:db8:2::2")
        self.until(lambda: self.remotes(here, there) == ("198.51.100.2", "198.51.100.1"))
        hosts = [each.endpoint.host for each in node(here).describe().candidates]
        self.assertEqual(hosts, ["192.168.1.2", "198.51.100.1"])
        self.assertEqual(node(here).udp.six.refused, 0)
