"""Tests for :mod:`tunnelmesh.peer.reach.network`: the NAT in front of a peer."""

from __future__ import annotations

from tests.peer.world import WorldTestCase, node
from tunnelmesh.lab.sim import KINDS
from tunnelmesh.lab.sim.mesh import SimulatedPeer

FLAVOURS = {
    "open": "open",
    "firewall": "firewall",
    "full-cone": "full-cone",
    "restricted-cone": "restricted-cone",
    "port-restricted": "port-restricted",
    "linux": "port-restricted",
    "symmetric": "symmetric",
    "symmetric-sequential": "symmetric",
    "udp-blocked": "udp-blocked",
    "web-only": "udp-blocked",
}


class NetworkTests(WorldTestCase):
    """What a peer finds out."""

    def flavour(self, peer: SimulatedPeer) -> str:
        """What the peer thinks its NAT is."""
        return str(peer.status()["nat"]["flavour"]) if peer.node else "unknown"

    def test_every_kind(self) -> None:
        """Each kind of NAT is recognised within seconds."""
        for kind in KINDS:
            if kind in FLAVOURS:
                peer = self.add(kind, kind)
                self.until(lambda peer=peer: node(peer).network.classified if peer.node else False)
                self.assertEqual(self.flavour(peer), FLAVOURS[kind])

    def test_udp_comes_back(self) -> None:
        """Blocked UDP is noticed when it is asked for, and its return soon."""
        peer = self.add("here")
        self.until(lambda: self.flavour(peer) == "port-restricted")
        self.nats[0].block(udp=True)
        node(peer).network.restart()
        self.until(lambda: self.flavour(peer) == "udp-blocked")
        self.nats[0].unblock(udp=True)
        self.until(lambda: self.flavour(peer) == "port-restricted", 8)

    def test_blocked_again_is_classified(self) -> None:
        """Asked anew behind a wall, the peer says so and does not go on wondering."""
        peer = self.add("here", "udp-blocked")
        self.until(lambda: peer.node and peer.node.network.classified)
        node(peer).network.restart()
        self.assertFalse(node(peer).network.classified)
        self.until(lambda: node(peer).network.classified, 5)

    def test_roaming(self) -> None:
        """Another external address is found when a path fails, and told."""
        here, there = self.pair()
        self.nats[0].roam("198.51.100.77")
        here.inner.ping(there.inner.address).addErrback(lambda _: None)
        self.until(lambda: node(here).describe().external.host == "198.51.100.77")

    def test_asks_little(self) -> None:
        """A quiet peer that knows its NAT asks nobody."""
        peer = self.add("here")
        self.until(lambda: peer.node and peer.node.network.classified)
        self.internet.run(5)
        sent: list[object] = []
        self.patch(node(peer).udp.four, "send", lambda datagrams, to: sent.append(to))
        self.internet.run(300)
        self.assertEqual(sent, [])

    def test_by_name(self) -> None:
        """A coordinator's name is looked up; a name that is unknown costs STUN and nothing else."""
        peer = self.add("here")
        self.until(lambda: peer.node and peer.node.network.classified)
        network = node(peer).network
        network.use_servers(["nowhere.example"], [3478])
        network.use_servers(["nowhere.example"], [3478])
        self.internet.run(5)
        self.internet.names["vpn.example"] = ("203.0.113.10",)
        network.use_servers(["vpn.example"], [3478])
        self.internet.run(5)
        self.assertEqual(network.behaviour.external.host, "198.51.100.1")

    def test_stopped_while_looking_up(self) -> None:
        """Stopped at any moment, it leaves no timer."""
        peer = self.add("here")
        self.until(lambda: peer.node)
        network = node(peer).network
        network.use_servers(["nowhere.example"], [1])
        network.stop()
        self.internet.run(20)
        self.assertIsNone(network._mapping)
