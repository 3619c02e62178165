"""The machines inside the mesh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, readBody
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.lab.sim.parts import Collect, Echo
from tunnelmesh.interfaces import ITunnelDevice, ITunnelUser
from tunnelmesh.lab.sim import InnerHost, Internet, TunnelDevice


@implementer(ITunnelUser)
class Pipe:
    """What a peer does in the simplest case: hand each packet to the other's device."""

    def __init__(self, internet: Internet, other: TunnelDevice) -> None:
        self.internet = internet
        self.other = other
        self.loss = self.damage = self.reorder = 0.0
        self.packets = 0
        self.broken = False

    def packets_leaving(self, packets: Sequence[bytes]) -> None:
        random = self.internet.random
        for packet in packets:
            self.packets += 1
            if self.broken or random.random() < self.loss:
                continue
            if random.random() < self.damage:
                packet = packet[: random.randrange(len(packet))]
            late = 0.03 if random.random() < self.reorder else 0.0
            self.internet.clock.callLater(0.01 + late, self.other.write, [packet])


class InnerHostTests(SynchronousTestCase):
    """Two of them, and a tunnel between."""

    def setUp(self) -> None:
        self.build(6)

    def build(self, seed: int) -> None:
        """A new world."""
        self.internet = Internet(seed)
        self.internet.install(self)
        self.devices = [
            self.internet.host(f"203.0.113.{n}").tunnel_device(mtu=1400) for n in (1, 2)
        ]
        self.here, self.there = (
            InnerHost(device, f"100.96.0.{n}") for n, device in enumerate(self.devices, 1)
        )
        self.pipes = [Pipe(self.internet, other) for other in reversed(self.devices)]
        for device, pipe in zip(self.devices, self.pipes, strict=True):
            device.start(pipe)

    def test_interfaces(self) -> None:
        """The device is a tunnel device; the inner machine a reactor."""
        self.assertTrue(verifyObject(ITunnelDevice, self.devices[0]))
        self.assertTrue(verifyObject(IReactorTCP, self.here))
        self.assertTrue(verifyObject(IReactorTime, self.here))

    def test_ping(self) -> None:
        """An echo comes back, and the round trip is measured."""
        pinged = self.here.ping("100.96.0.2")
        self.internet.run(1)
        self.assertAlmostEqual(self.successResultOf(pinged), 0.02, places=5)
        self.assertEqual(self.here.getDelayedCalls(), [])

    def test_no_answer(self) -> None:
        """A ping that is not answered fails after its timeout; so does one that is too large."""
        self.pipes[1].broken = True
        for pinged in (
            self.here.ping("100.96.0.2", timeout=2),
            self.there.ping("100.96.0.1", size=1400, timeout=2),
        ):
            self.internet.run(2.1)
            self.failureResultOf(pinged, TimeoutError)
        self.assertEqual(self.devices[1].dropped, 1)

    def test_refused(self) -> None:
        """A connection to a port where nobody listens is refused."""
        connecting = connectProtocol(TCP4ClientEndpoint(self.here, "100.96.0.2", 80), Collect())
        self.internet.run(1)
        self.failureResultOf(connecting, ConnectionRefusedError)

    def test_http(self) -> None:
        """twisted.web fetches a page over packets that are bytes, by a name inside the mesh."""
        page = bytes(range(256)) * 1000
        root = Resource()
        root.putChild(b"file", Data(page, "application/octet-stream"))
        self.there.listenTCP(80, Site(root, reactor=self.there))
        self.here.names["homelab.mesh"] = (self.there.address,)
        done: list[Any] = []
        fetched = Agent(self.here).request(b"GET", b"http://homelab.mesh/file")
        fetched.addCallback(readBody).addCallback(done.append)
        self.internet.run_until(lambda: done, 30)
        self.assertEqual(done, [page])

    def test_stream_outlives_the_program(self) -> None:
        """A connection inside survives that the peer's program ends and starts again."""
        self.there.listenTCP(7, Factory.forProtocol(Echo))
        client = Collect()
        connectProtocol(TCP4ClientEndpoint(self.here, "100.96.0.2", 7), client)
        self.internet.run(1)
        device = self.devices[0]
        device.host.kill()
        client.transport.write(b"hello")
        self.internet.run(5)
        self.assertEqual(client.received, b"")
        again = device.host.tunnel_device(mtu=1400)
        self.here.plug(again)
        again.start(self.pipes[0])
        self.pipes[1].other = again
        self.internet.run(10)
        self.assertEqual(client.received, b"hello")

    def test_hostile_packets(self) -> None:
        """Damaged packets, and packets for others, are counted and dropped."""
        stranger = InnerHost(self.internet.host("203.0.113.9").tunnel_device(), "100.96.0.9")
        stranger._device.start(Pipe(self.internet, self.devices[1]))
        stranger.ping("100.96.0.3", timeout=1).addErrback(lambda _: None)
        self.devices[1].write([b"", b"\x45" * 40, bytes(2000)])
        self.internet.run(2)
        self.assertEqual(self.there.dropped, 4)

    @settings(derandomize=True, max_examples=15, deadline=None)
    @given(
        seed=st.integers(0, 2**32),
        loss=st.floats(0, 0.15),
        damage=st.floats(0, 0.1),
        reorder=st.floats(0, 0.3),
    )
    def test_every_byte(self, seed: int, loss: float, damage: float, reorder: float) -> None:
        """Over a tunnel that loses, damages and reorders, an echo is exact."""
        self.build(seed)
        for pipe in self.pipes:
            pipe.loss, pipe.damage, pipe.reorder = loss, damage, reorder
        self.there.listenTCP(7, Factory.forProtocol(Echo))
        client = Collect()
        endpoint = TCP4ClientEndpoint(self.here, "100.96.0.2", 7, timeout=120)
        connectProtocol(endpoint, client)
        data = self.internet.random.randbytes(60_000)
        self.internet.run_until(lambda: client.transport, 200)
        client.transport.write(data)
        self.internet.run_until(lambda: len(client.received) == len(data), 3000)
        self.assertEqual(bytes(client.received), data)
