"""Streams between whole services on the simulated internet."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory

from tests.lab.sim.parts import Collect, Echo
from tests.peer.world import WorldTestCase, node
from tunnelmesh.lab.sim.mesh import SimulatedPeer


class ServiceTests(WorldTestCase):
    """Ports of peers are reached with and without network devices."""

    def connect(self, peer: SimulatedPeer, host: str, port: int, first: bytes = b"") -> Any:
        """Open a stream from a peer."""
        endpoint = node(peer).streams.endpoint(host, port, first)
        return endpoint.connect(Factory.forProtocol(Collect))

    def met(self, here: str, there: str, **config: Any) -> tuple[SimulatedPeer, SimulatedPeer]:
        """Two peers in these modes that have met."""
        one = self.add("here", mode=here)
        other = self.add("there", mode=there, **config)
        self.until(lambda: one.path_to("there") == "udp" and other.path_to("here") == "udp")
        return one, other

    def exchange(self, here: SimulatedPeer) -> None:
        """Echoes come back from port 7."""
        connecting = self.connect(here, "there.mesh", 7)
        started = self.internet.clock.seconds()
        self.until(lambda: connecting.called, 3)
        client = self.successResultOf(connecting)
        self.assertLess(self.internet.clock.seconds() - started, 0.1)
        client.transport.write(b"x" * 100_000)
        self.until(lambda: len(client.received) == 100_000)
        client.transport.loseConnection()
        self.until(lambda: client.lost is not None)

    def test_to_tun(self) -> None:
        """A peer without a device reaches every port of one that has a device."""
        here, there = self.met("userspace", "tun")
        there.inner.listenTCP(7, Factory.forProtocol(Echo))  # type: ignore[union-attr]
        self.exchange(here)

    def test_to_userspace(self) -> None:
        """A peer with a device reaches what one without exposes."""
        here, there = self.met("tun", "userspace", expose=((7, "127.0.0.1", 7007),))
        there.host.listenTCP(7007, Factory.forProtocol(Echo))
        self.exchange(here)
