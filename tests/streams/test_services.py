"""Streams between whole services on the simulated internet."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory

from tests.lab.sim.parts import Collect, Echo
from tests.peer.world import WorldTestCase, node, remote
from tunnelmesh.errors import OfflineError, StreamError, StreamTimeoutError, UnknownPeerError
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

    def exchange(self, here: SimulatedPeer, seconds: float = 0.1) -> None:
        """Echoes come back from port 7, first after two round trips."""
        connecting = self.connect(here, "there.mesh", 7)
        started = self.internet.clock.seconds()
        self.until(lambda: connecting.called, 3)
        client = self.successResultOf(connecting)
        self.assertLess(self.internet.clock.seconds() - started, seconds)
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

    def refused(self, here: SimulatedPeer, host: str, port: int, kind: type[Exception]) -> str:
        """A stream is not opened, within three seconds; return why."""
        connecting = self.connect(here, host, port)
        self.until(lambda: connecting.called, 3.1)
        return str(self.failureResultOf(connecting, kind).value)

    def test_refusals(self) -> None:
        """What cannot be opened fails in time, and says why."""
        here, there = self.met("userspace", "userspace", expose=((7, "127.0.0.1", 7007),))
        self.assertIn("no peer 'nobody'", self.refused(here, "nobody", 7, UnknownPeerError))
        self.assertIn("nothing answers on port 7", self.refused(here, "there", 7, StreamError))
        self.assertIn("--expose=8", self.refused(here, "there", 8, StreamError))
        node(there).streams.allowed = lambda remote, port: False
        self.assertIn("access rules", self.refused(here, "there", 7, StreamError))
        node(there).mesh.switch.streamed = None  # as an older version
        for connection in (remote(here, "there").streams,):
            assert connection is not None
            connection.drop("test")
        self.assertIn("within 3 s", self.refused(here, "there", 7, StreamTimeoutError))
        there.kill()
        self.until(lambda: here.path_to("there") is None, 60)
        said = self.refused(here, "there", 7, OfflineError)
        self.assertIn("there is offline (last seen", said)

    def test_nothing_loaded(self) -> None:
        """A peer that uses no streams has nothing of them."""
        here, there = self.met("userspace", "userspace")
        self.assertIsNone(remote(here, "there").streams)
        self.assertIsNone(remote(there, "here").streams)

    def test_path_changes(self) -> None:
        """A stream keeps every byte while UDP is cut and comes back, and the peer roams."""
        here, there = self.met("userspace", "userspace", expose=((7, "127.0.0.1", 7007),))
        there.host.listenTCP(7007, Factory.forProtocol(Echo))
        connecting = self.connect(here, "there", 7)
        self.until(lambda: connecting.called, 3)
        client = self.successResultOf(connecting)
        sent = bytearray()

        def write() -> None:
            data = self.internet.random.randbytes(1000)
            sent.extend(data)
            client.transport.write(data)
            here.host.callLater(0.05, write)

        write()
        for change in (
            lambda: self.nats[0].block(udp=True),
            lambda: self.nats[0].unblock(udp=True),
            lambda: self.nats[1].roam("198.51.100.77"),
        ):
            change()
            self.internet.run(15)
        self.until(lambda: len(client.received) > 500_000, 60)
        self.assertTrue(bytes(sent).startswith(client.received))

    def test_restart(self) -> None:
        """A peer that was started anew ends the streams it does not know, and takes new ones."""
        here, there = self.met("userspace", "userspace", expose=((7, "127.0.0.1", 7007),))
        there.host.listenTCP(7007, Factory.forProtocol(Echo))
        connecting = self.connect(here, "there", 7)
        self.until(lambda: connecting.called, 3)
        client = self.successResultOf(connecting)
        there.kill()
        there.start()
        there.host.listenTCP(7007, Factory.forProtocol(Echo))
        self.until(lambda: there.path_to("here") == "udp", 30)
        client.transport.write(b"x")
        self.until(lambda: client.lost is not None, 10)
        self.exchange(here, 0.2)  # perhaps by the relay still

    def test_dismissed(self) -> None:
        """The streams of a peer that is no member any more end at once."""
        here, there = self.met("userspace", "userspace", expose=((7, "127.0.0.1", 7007),))
        there.host.listenTCP(7007, Factory.forProtocol(Echo))
        connecting = self.connect(here, "there", 7)
        self.until(lambda: connecting.called, 3)
        client = self.successResultOf(connecting)
        remote(here, "there").forget()
        self.assertIsNotNone(client.lost)
