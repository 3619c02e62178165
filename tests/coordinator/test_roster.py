"""The list of members."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from twisted.trial.unittest import SynchronousTestCase

from tests.coordinator.fakes import member
from tunnelmesh.coordinator.roster import RosterBook
from tunnelmesh.wire import frame, signal
from tunnelmesh.wire.administration import Removed
from tunnelmesh.wire.signal import ROSTER_CHUNK, Roster, RosterEntry


def read(sent: Iterable[bytes]) -> list[Roster]:
    """What was sent, decoded."""
    decoder = frame.FrameDecoder()
    messages = [signal.decode(body) for each in sent for _, body in decoder.receive(each)]
    return [message for message in messages if isinstance(message, Roster)]


def entries(sent: Iterable[bytes]) -> list[RosterEntry]:
    """All entries in what was sent."""
    return [entry for message in read(sent) for entry in message.peers]


def address(number: int) -> IPv4Address:
    """Of the member with that number."""
    return member(number).address


class RosterTests(SynchronousTestCase):
    """Whole lists and changes."""

    def setUp(self) -> None:
        self.book = RosterBook()

    def fill(self, count: int) -> None:
        """Members 1 to *count*, none of them online."""
        for number in range(1, count + 1):
            self.book.put(member(number), online=False)

    def test_without_oneself(self) -> None:
        """A receiver is not on its own list."""
        self.fill(3)
        got = entries(self.book.whole(address(2)))
        self.assertEqual([entry.name for entry in got], ["m1", "m3"])

    def test_alone(self) -> None:
        """The only member gets an empty list, which is complete."""
        self.fill(1)
        self.assertEqual(read(self.book.whole(address(1)))[-1], Roster((), complete=True))

    def test_large(self) -> None:
        """A large list comes in pieces, of which the last alone is complete."""
        self.fill(3 * ROSTER_CHUNK + 5)
        for receiver in (1, ROSTER_CHUNK, ROSTER_CHUNK + 1, 3 * ROSTER_CHUNK + 5):
            frames = list(self.book.whole(address(receiver)))
            self.assertEqual(
                {entry.address for entry in entries(frames)},
                {address(n) for n in range(1, 3 * ROSTER_CHUNK + 6)} - {address(receiver)},
            )
            self.assertEqual([m.complete for m in read(frames)][-2:], [False, True])

    def test_pieces_are_up_to_date(self) -> None:
        """What was encoded for one receiver is not kept beyond a change."""
        self.fill(2 * ROSTER_CHUNK)
        last = address(2 * ROSTER_CHUNK)
        self.book.whole(last)
        self.book.put(member(1), online=True)
        online = [entry.name for entry in entries(self.book.whole(last)) if entry.online]
        self.assertEqual(online, ["m1"])

    def test_slow_receiver(self) -> None:
        """What is taken late is as of then, whoever has come since included."""
        self.fill(2 * ROSTER_CHUNK)
        sending = self.book.whole(address(1))
        next(sending)
        self.book.put(member(2 * ROSTER_CHUNK), online=True)
        self.book.put(member(2 * ROSTER_CHUNK + 1), online=True)
        late = [entry.name for entry in entries(sending) if entry.online]
        self.assertEqual(late, [f"m{2 * ROSTER_CHUNK}", f"m{2 * ROSTER_CHUNK + 1}"])

    def test_changes(self) -> None:
        """Changes are taken once, each member's latest, and not told to itself."""
        self.fill(5)
        self.book.take_changes()
        self.book.put(member(2), online=True)
        self.book.put(member(4), online=True)
        self.book.put(member(2), online=False)
        changes = self.book.take_changes()
        told = [(entry.name, entry.online) for entry in entries(changes.messages(address(1)))]
        self.assertEqual(told, [("m2", False), ("m4", True)])
        self.assertEqual([e.name for e in entries(changes.messages(address(2)))], ["m4"])
        self.assertEqual(self.book.take_changes().messages(address(1)), [])

    def test_only_oneself_changed(self) -> None:
        """Nothing is sent to a receiver that is all that has changed."""
        self.fill(2)
        self.book.take_changes()
        self.book.put(member(1), online=True)
        self.assertEqual(self.book.take_changes().messages(address(1)), [])

    def test_removed(self) -> None:
        """Who is removed is on no list, and is told of before whatever else has changed."""
        self.fill(2 * ROSTER_CHUNK)
        self.book.take_changes()
        list(self.book.whole(address(1)))
        self.book.put(member(7), online=True)
        self.book.put(member(8), online=True)
        self.book.remove(address(7))
        named = {entry.address for entry in entries(self.book.whole(address(1)))}
        self.assertEqual(len(named), 2 * ROSTER_CHUNK - 2)
        self.assertNotIn(address(7), named)
        first, *rest = self.book.take_changes().messages(address(1))
        ((_, body),) = frame.FrameDecoder().receive(first)
        self.assertEqual(signal.decode(body), Removed((address(7),)))
        self.assertEqual([entry.name for entry in entries(rest)], ["m8"])
        self.assertEqual(self.book.take_changes().messages(address(1)), [])

    def test_place_is_used_again(self) -> None:
        """A thousand come and go, and the list does not grow."""
        self.fill(5)
        for number in range(6, 1006):
            self.book.put(member(number), online=True)
            self.book.remove(address(number))
        self.assertEqual(len(list(self.book.whole(address(1)))), 2)
        self.book.put(member(2000), online=True)
        names = [entry.name for entry in entries(self.book.whole(address(1)))]
        self.assertEqual(names, ["m2", "m3", "m4", "m5", "m2000"])

    def test_removed_while_somebody_is_slow(self) -> None:
        """What a slow receiver takes afterwards does not name who was removed."""
        self.fill(2 * ROSTER_CHUNK)
        sending = self.book.whole(address(1))
        next(sending)
        self.book.remove(address(2 * ROSTER_CHUNK))
        self.assertNotIn(f"m{2 * ROSTER_CHUNK}", [entry.name for entry in entries(sending)])

    def test_many_changes(self) -> None:
        """Many changes come in pieces too."""
        self.fill(2 * ROSTER_CHUNK + 1)
        changes = self.book.take_changes()
        frames = changes.messages(IPv4Address("10.0.0.1"))
        self.assertEqual([len(m.peers) for m in read(frames)], [ROSTER_CHUNK, ROSTER_CHUNK, 1])
        frames = changes.messages(address(2 * ROSTER_CHUNK + 1))
        self.assertEqual([len(m.peers) for m in read(frames)], [ROSTER_CHUNK, ROSTER_CHUNK])
        frames = changes.messages(address(ROSTER_CHUNK + 1))
        self.assertEqual([len(m.peers) for m in read(frames)], [ROSTER_CHUNK, ROSTER_CHUNK - 1, 1])
