"""A coordinator and peers on the simulated internet, for the peers' tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.lab.sim import Internet, Nat
from tunnelmesh.lab.sim.mesh import SimulatedCoordinator, SimulatedPeer
from tunnelmesh.peer.node import Node
from tunnelmesh.peer.pair.remote import Remote


class WorldTestCase(SynchronousTestCase):
    """A coordinator is up; peers are added."""

    def setUp(self) -> None:
        self.internet = Internet(seed=5)
        self.internet.install(self)
        self.folder = Path(self.mktemp())
        self.coordinator = SimulatedCoordinator(self.internet, self.folder / "coordinator")
        self.coordinator.start()
        self.token = self.coordinator.invite()
        self.nats: list[Nat] = []
        self.peers: list[SimulatedPeer] = []

    def add(self, name: str, kind: str = "port-restricted", **config: Any) -> SimulatedPeer:
        """One more peer, behind a gateway of its own."""
        nat = self.internet.nat(f"198.51.100.{len(self.nats) + 1}", kind=kind)
        self.nats.append(nat)
        host = nat.host(name=name)
        peer = SimulatedPeer(self.internet, host, self.folder / name, self.token, **config)
        self.peers.append(peer)
        peer.start()
        return peer

    def pair(self, *kinds: str, way: str = "udp") -> tuple[SimulatedPeer, SimulatedPeer]:
        """Two peers, ``here`` and ``there``, that have met."""
        here, there = (
            self.add(name, kind)
            for name, kind in zip(("here", "there"), kinds or ("port-restricted",) * 2, strict=True)
        )
        self.until(lambda: here.path_to("there") == way and there.path_to("here") == way)
        return here, there

    def until(self, condition: Any, limit: float = 20.0) -> None:
        """Let simulated time pass until something is so."""
        self.internet.run_until(condition, limit)


def node(peer: SimulatedPeer) -> Node:
    """A peer that has joined."""
    assert peer.node is not None
    return peer.node


def remote(peer: SimulatedPeer, name: str) -> Remote:
    """What it knows of another."""
    return node(peer).mesh.members.remotes[name]
