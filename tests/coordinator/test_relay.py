"""The hub between members' links."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.coordinator.fakes import FakeLink, present
from tunnelmesh.coordinator.presence import Line, Presence
from tunnelmesh.coordinator.relay import GONE_BURST, HOLD_AT, QUEUE, RelayHub
from tunnelmesh.interfaces import ILink
from tunnelmesh.wire import frame
from tunnelmesh.wire.signal import Gone, Hold, Release


def body(address: IPv4Address, *datagrams: bytes) -> bytes:
    """A ``RELAY`` frame's body."""
    return frame.encode_relay(address.packed, datagrams)[frame.HEADER :]


class HubTestCase(SynchronousTestCase):
    """Two senders and a receiver."""

    def setUp(self) -> None:
        self.online: dict[IPv4Address, Presence] = {}
        self.hub = RelayHub(self.online)
        self.sender, self.sender_link = self.join(1)
        self.other, self.other_link = self.join(2)
        self.receiver, self.link = self.join(3)
        self.to = self.receiver.member.address

    def join(self, number: int) -> tuple[Presence, FakeLink]:
        """One more member is online."""
        presence, link = present(number)
        self.online[presence.member.address] = presence
        return presence, link

    def send(self, *datagrams: bytes, by: Presence | None = None, now: float = 0) -> None:
        """Send datagrams to the receiver, each in a frame of its own."""
        bodies = [body(self.to, datagram) for datagram in datagrams]
        self.hub.forward(by or self.sender, bodies, now)

    def received(self) -> list[tuple[bytes, list[bytes]]]:
        """Sources and datagrams that the receiver got since the last call."""
        bulk, self.link.bulk = self.link.bulk, []
        self.assertEqual({kind for kind, _ in bulk} | {frame.RELAY}, {frame.RELAY})
        return [frame.decode_relay(body) for _, body in bulk]


class ForwardTests(HubTestCase):
    """The way through."""

    def test_fake(self) -> None:
        """The links of these tests are links."""
        verifyObject(ILink, FakeLink())

    def test_source_replaces_destination(self) -> None:
        """The receiver gets the batch unchanged, with the sender's address on it."""
        self.hub.forward(self.sender, [body(self.to, b"one", b"two")], 0)
        source = self.sender.member.address.packed
        self.assertEqual(self.received(), [(source, [b"one", b"two"])])

    def test_several_receivers(self) -> None:
        """Frames that came together go each to its own receiver, in order."""
        bodies = [
            body(self.to, b"1"),
            body(self.to, b"2"),
            body(self.other.member.address, b"3"),
            body(self.to, b"4"),
        ]
        self.hub.forward(self.sender, bodies, 0)
        self.assertEqual([batch for _, batch in self.received()], [[b"1"], [b"2"], [b"4"]])
        self.assertEqual(len(self.other_link.bulk), 1)

    def test_counters(self) -> None:
        """Frames and bytes are counted as they leave."""
        self.send(b"x" * 100, b"y")
        self.assertEqual(self.hub.counters.frames, 2)
        self.assertEqual(self.hub.counters.bytes, 100 + 1 + 2 * (frame.HEADER + 4 + 2))
        self.assertEqual(self.hub.counters.dropped, 0)

    def test_largest_frame(self) -> None:
        """The longest frame that a link takes passes whole."""
        largest = self.to.packed + bytes(frame.MAX_BODY - 4)
        self.hub.forward(self.sender, [largest], 0)
        ((_, got),) = self.link.bulk
        self.assertEqual(len(got), frame.MAX_BODY)

    def test_nobody_there(self) -> None:
        """What goes to somebody absent, or to oneself, is counted, and now and then told."""
        absent = IPv4Address("100.96.9.9")
        for _ in range(100):
            self.hub.forward(self.sender, [body(absent, b"x"), body(absent, b"y")], 0)
        self.assertEqual(self.sender_link.take(), [Gone(absent)] * GONE_BURST)
        self.assertEqual(self.hub.counters.dropped, 200)
        self.hub.forward(self.sender, [body(self.sender.member.address, b"x")], 0)
        self.assertEqual(self.sender_link.take(), [Gone(self.sender.member.address)])
        self.hub.forward(self.sender, [body(absent, b"x")], 60)
        self.assertEqual(self.sender_link.take(), [Gone(absent)])

    @settings(max_examples=50, derandomize=True)
    @given(st.lists(st.binary(max_size=12), max_size=5))
    def test_hostile_bodies(self, bodies: list[bytes]) -> None:
        """Bodies too short for an address are dropped, and every one is counted."""
        self.setUp()
        self.online[IPv4Address(0)] = self.receiver
        self.hub.forward(self.sender, bodies, 0)
        counters = self.hub.counters
        self.assertEqual(counters.frames + counters.dropped, len(bodies))
        self.assertTrue(all(len(got) >= 4 for _, got in self.link.bulk))


LARGE = b"x" * (HOLD_AT - 1)
"""A datagram that, in its frame, makes a queue worth telling of."""


class BackPressureTests(HubTestCase):
    """A receiver whose link is full."""

    def fill(self) -> None:
        """The receiver's link becomes full."""
        self.link.room = 1
        self.send(b"last", by=self.receiver_of_noise())
        self.received()

    def receiver_of_noise(self) -> Presence:
        """A third sender, who only fills the link and is not looked at."""
        return self.join(9)[0]

    def drain(self) -> None:
        """The link has room again."""
        self.link.room = None
        self.link.paused = False
        self.hub.resume(self.receiver)

    def test_kept_and_sent_later(self) -> None:
        """What comes meanwhile is kept, in order, and sent when there is room."""
        self.fill()
        self.send(b"1")
        self.send(b"2", by=self.other)
        self.send(b"3")
        self.assertEqual(self.received(), [])
        self.drain()
        self.assertEqual([batch for _, batch in self.received()], [[b"1"], [b"2"], [b"3"]])
        self.assertEqual(self.hub.counters.dropped, 0)

    def test_only_its_senders_are_held(self) -> None:
        """Those who send to it are told once to hold, and once to go on; nobody else is."""
        self.fill()
        self.send(LARGE)
        self.send(b"2")
        self.assertEqual(self.sender_link.take(), [Hold(self.to)])
        self.assertEqual(self.other_link.take(), [])
        self.drain()
        self.assertEqual(self.sender_link.take(), [Release(self.to)])
        self.assertEqual(self.other_link.take(), [])
        self.send(b"3")
        self.assertEqual(self.sender_link.take(), [])

    def test_a_moment(self) -> None:
        """A link that is full for a moment is nothing to tell anybody about."""
        self.fill()
        self.send(b"1")
        self.drain()
        self.assertEqual(self.sender_link.take(), [])
        self.assertEqual(len(self.received()), 1)

    def test_others_flow(self) -> None:
        """Meanwhile the same sender reaches other receivers."""
        self.fill()
        self.send(b"1")
        self.hub.forward(self.sender, [body(self.other.member.address, b"x")], 0)
        self.assertEqual(len(self.other_link.bulk), 1)

    def test_never_reads(self) -> None:
        """A receiver that never reads costs a bounded amount, and the rest is counted."""
        self.fill()
        self.hub.counters.frames = 0
        for _ in range(1000):
            self.send(b"x" * 10_000)
        self.drain()
        kept = sum(len(batch[0]) for _, batch in self.received())
        self.assertLessEqual(kept, QUEUE)
        self.assertGreater(kept, QUEUE * 0.9)
        self.assertEqual(self.hub.counters.frames + self.hub.counters.dropped, 1000)

    def test_full_again_while_draining(self) -> None:
        """When the link fills up again half-way, the rest waits and senders go on holding."""
        self.fill()
        self.send(*[b"%d" % number for number in range(10)])
        self.send(LARGE)
        self.sender_link.take()
        self.link.paused = False
        self.link.room = 50
        self.hub.resume(self.receiver)
        self.assertEqual(len(self.received()), 10)
        self.assertEqual(self.sender_link.take(), [])
        self.drain()
        self.assertEqual(len(self.received()), 1)
        self.assertEqual(self.sender_link.take(), [Release(self.to)])

    def test_receiver_leaves(self) -> None:
        """What waited for one that left is counted as dropped, and nobody is left holding."""
        self.fill()
        self.send(b"1", LARGE)
        self.assertEqual(self.sender_link.take(), [Hold(self.to)])
        del self.online[self.to]
        self.hub.left(self.receiver)
        self.assertEqual(self.sender_link.take(), [Release(self.to)])
        self.assertEqual(self.hub.counters.dropped, 2)

    def test_receiver_has_another_link(self) -> None:
        """What waited goes by the new link, at once."""
        self.fill()
        self.send(LARGE)
        new = FakeLink()
        self.receiver.lines.append(Line(new))
        self.hub.link_changed(self.receiver)
        self.assertEqual(len(new.bulk), 1)
        self.assertEqual(self.sender_link.take()[-1:], [Release(self.to)])

    def test_sender_has_another_link(self) -> None:
        """A held sender that begins afresh is told again to hold."""
        self.fill()
        self.send(LARGE)
        new = FakeLink()
        self.sender.lines.append(Line(new))
        self.hub.link_changed(self.sender)
        self.send(b"2")
        self.assertEqual(new.take(), [Hold(self.to)])
        self.drain()
        self.assertEqual(new.take(), [Release(self.to)])

    def test_held_sender_leaves(self) -> None:
        """A sender that left while holding is not looked for."""
        self.fill()
        self.send(LARGE)
        del self.online[self.sender.member.address]
        self.hub.left(self.sender)
        self.drain()
        self.assertEqual(len(self.received()), 1)
