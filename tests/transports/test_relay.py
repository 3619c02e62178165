"""Tests for :mod:`tunnelmesh.transports.relay`."""

from __future__ import annotations

from ipaddress import IPv4Address

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tunnelmesh.bulk.run import Run
from tunnelmesh.interfaces import IPath, ITransport
from tunnelmesh.transports import relay
from tunnelmesh.transports.relay import RelayTransport
from tunnelmesh.wire import frame

THERE, ELSEWHERE = IPv4Address("100.96.0.7"), IPv4Address("100.96.0.8")


class FakeLink:
    """A link with or without room."""

    def __init__(self, kind: str = "ssh") -> None:
        self.kind = kind
        self.paused = False
        self.sent: list[bytes] = []

    def send_bulk(self, frames: bytes) -> bool:
        """Take frames, unless paused."""
        if not self.paused:
            self.sent.append(frames)
        return not self.paused

    @property
    def batches(self) -> list[tuple[IPv4Address, list[bytes]]]:
        """To whom, and what."""
        frames = [each for data in self.sent for each in frame.FrameDecoder().receive(data)]
        decoded = [frame.decode_relay(body) for kind, body in frames if kind == frame.RELAY]
        return [(IPv4Address(address), datagrams) for address, datagrams in decoded]


class RelayTests(SynchronousTestCase):
    """Paths through the coordinator."""

    def setUp(self) -> None:
        """A link with room."""
        self.link = FakeLink()
        self.transport = RelayTransport()
        self.path = self.transport.path_to(THERE)
        self.used = 0
        self.transport.sent = self.count
        self.transport.use(self.link)  # type: ignore[arg-type]

    def count(self) -> None:
        """Frames went out."""
        self.used += 1

    def test_interfaces(self) -> None:
        """They are what they say."""
        verifyObject(ITransport, self.transport)
        verifyObject(IPath, self.path)

    def test_one_path_for_each(self) -> None:
        """The path to a peer is always the same one."""
        self.assertIs(self.transport.path_to(IPv4Address("100.96.0.7")), self.path)
        self.assertIsNot(self.transport.path_to(ELSEWHERE), self.path)

    def test_batch(self) -> None:
        """A batch travels as one frame, and the user is told that the link is used."""
        self.path.write([b"a", b"bc"])
        self.assertEqual(self.link.batches, [(THERE, [b"a", b"bc"])])
        self.assertEqual(self.used, 1)

    def test_large_batch(self) -> None:
        """A large batch is cut into frames that a signal need not wait for long."""
        batch = [bytes([n]) * 1452 for n in range(200)]
        self.path.write(batch)
        self.assertEqual([d for _, datagrams in self.link.batches for d in datagrams], batch)
        for _, datagrams in self.link.batches:
            self.assertLessEqual(sum(map(len, datagrams)), relay.FRAME)
        self.path.write([bytes(65_535)])

    def test_run(self) -> None:
        """A run's datagrams travel like a batch."""
        self.path.write_run(Run([memoryview(b"aab"), b"bc"], 2, 3))
        self.assertEqual(self.link.batches, [(THERE, [b"aa", b"bb", b"c"])])

    def test_no_link(self) -> None:
        """Without a link datagrams are dropped and counted."""
        self.transport.use(None)
        self.path.write([b"a", b"b"])
        self.assertEqual(self.path.dropped, 2)

    def test_full_link(self) -> None:
        """A full link's datagrams wait, in order, and go when there is room."""
        self.link.paused = True
        for number in range(5):
            self.path.write([bytes([number])])
        self.assertEqual(self.link.sent, [])
        self.link.paused = False
        self.path.write([b"\5"])
        self.transport.resume()
        sent = [datagrams[0][0] for _, datagrams in self.link.batches]
        self.assertEqual(sent, [0, 1, 2, 3, 4, 5])

    def test_bounded(self) -> None:
        """What waits is bounded; the rest is dropped and counted."""
        self.link.paused = True
        for _ in range(1000):
            self.path.write([bytes(1400)])
        self.assertGreater(self.path.dropped, 800)
        self.assertLessEqual(self.transport._waiting_bytes, relay.QUEUE)
        self.link.paused = False
        self.transport.resume()
        self.assertEqual(self.transport._waiting_bytes, 0)
        self.assertEqual(len(self.link.sent) + self.path.dropped, 1000)

    def test_link_fills_while_it_empties_the_queue(self) -> None:
        """A link that is full again halfway keeps the rest waiting."""
        self.link.paused = True
        for number in range(5):
            self.path.write([bytes([number])])
        real = self.link.send_bulk

        def two(frames: bytes) -> bool:
            taken = real(frames)
            self.link.paused = len(self.link.sent) >= 2
            return taken

        self.patch(self.link, "send_bulk", two)
        self.link.paused = False
        self.transport.resume()
        self.assertEqual(len(self.link.sent), 2)
        self.assertEqual(len(self.transport._waiting), 3)

    def test_another_link(self) -> None:
        """When the link is replaced, what waits goes by the new one, and the kind is its kind."""
        self.link.paused = True
        self.path.write([b"a"])
        new = FakeLink("websocket")
        self.transport.use(new)  # type: ignore[arg-type]
        self.assertEqual(new.batches, [(THERE, [b"a"])])
        self.assertEqual(self.path.kind, "websocket")

    def test_held(self) -> None:
        """While the other peer's link is full, this peer's datagrams are dropped; no other's."""
        self.path.pauseProducing()
        self.path.write([b"a"])
        self.transport.path_to(ELSEWHERE).write([b"b"])
        self.assertEqual((self.path.dropped, self.link.batches), (1, [(ELSEWHERE, [b"b"])]))
        self.path.resumeProducing()
        self.path.write([b"c"])
        self.assertEqual(self.link.batches[-1], (THERE, [b"c"]))

    def test_new_link_releases(self) -> None:
        """A new link knows nothing of holds: the release would never come."""
        self.path.pauseProducing()
        new = FakeLink()
        self.transport.use(new)  # type: ignore[arg-type]
        self.path.write([b"a"])
        self.assertEqual(new.batches, [(THERE, [b"a"])])
