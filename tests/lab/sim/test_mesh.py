"""The real coordinator and real peers, on the simulated internet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from tests.lab.sim.parts import Collect, Echo
from tunnelmesh.lab.sim import Internet
from tunnelmesh.lab.sim.mesh import SimulatedCoordinator, SimulatedPeer


class MeshTests(SynchronousTestCase):
    """Two machines behind NATs of their own find each other, and stay together."""

    def setUp(self) -> None:
        self.build()

    def build(self) -> None:
        """A coordinator and two peers, and time until they reach each other directly."""
        self.internet = Internet(seed=21)
        self.internet.install(self)
        self.state = Path(self.mktemp())
        self.coordinator = SimulatedCoordinator(self.internet, self.state / "coordinator")
        self.coordinator.start()
        token = self.coordinator.invite()
        self.nats = [self.internet.nat(f"198.51.100.{n}", kind="port-restricted") for n in range(2)]
        self.here, self.there = (
            SimulatedPeer(self.internet, nat.host(name=name), self.state / name, token)
            for nat, name in zip(self.nats, ("here", "there"), strict=True)
        )
        for peer in (self.here, self.there):
            peer.start()
        self.internet.run_until(lambda: self.ways() == ("udp", "udp"), 10)

    def ways(self) -> tuple[str | None, str | None]:
        """By what each peer reaches the other."""
        return self.here.path_to("there"), self.there.path_to("here")

    def inner(self) -> tuple[Any, Any]:
        """Both machines as the mesh sees them."""
        assert self.here.inner is not None
        assert self.there.inner is not None
        return self.here.inner, self.there.inner

    def test_meets(self) -> None:
        """They ping each other, directly, across both NATs."""
        here, there = self.inner()
        pinged = here.ping(there.address)
        self.internet.run(1)
        rtt = self.successResultOf(pinged)
        self.assertAlmostEqual(rtt, 4 * (0.010 + 0.0005), places=3)

    def test_same_seed(self) -> None:
        """The same seed gives the same datagrams, however TLS and SSH draw their randomness."""

        def story() -> list[tuple[float, str, str, int]]:
            self.internet.run(30)
            return [
                (event.time, event.place, event.what, event.packet.size)
                for event in self.internet.trace
                if event.packet.protocol == "udp"
            ]

        first = story()
        self.build()
        self.assertEqual(story(), first)
        self.assertGreater(len(first), 50)

    def test_stream_survives_everything(self) -> None:
        """A TCP stream inside keeps every byte while UDP is cut, the NAT roams, peers restart."""
        here, there = self.inner()
        there.listenTCP(7, Factory.forProtocol(Echo))
        client = Collect()
        connectProtocol(TCP4ClientEndpoint(here, there.address, 7), client)
        self.internet.run(1)
        sent = bytearray()

        def write() -> None:
            data = self.internet.random.randbytes(1000)
            sent.extend(data)
            client.transport.write(data)
            here.callLater(0.05, write)

        write()
        for change in (
            lambda: self.nats[0].block(udp=True),
            lambda: self.nats[0].unblock(udp=True),
            lambda: self.nats[1].roam("198.51.100.77"),
            lambda: self.nats[1].change("symmetric"),
            self.here.kill,
            self.here.start,
            self.coordinator.kill,
            self.coordinator.start,
            lambda: self.there.host.sleep(20),
        ):
            change()
            self.internet.run(5)
        for call in here.getDelayedCalls():
            call.cancel()
        self.internet.run_until(lambda: len(client.received) == len(sent), 120)
        self.assertEqual(client.received, sent)
        self.assertIsNone(client.lost)
