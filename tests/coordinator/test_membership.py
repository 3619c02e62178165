"""Members are removed, leave, take other names, and are seen for the last time."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from tests.coordinator.fakes import FakeLink
from tests.coordinator.test_signalling import ADDRESS, ALICE, BOB, STRANGER, SignallingTestCase
from tunnelmesh.coordinator.membership import (
    RENAME_INTERVAL,
    RENAMES,
    WRITE_DELAY,
    Membership,
)
from tunnelmesh.coordinator.presence import IAttendant
from tunnelmesh.coordinator.signalling import MOST_LINKS
from tunnelmesh.coordinator.sqlite import FILE_NAME, SQLiteStore
from tunnelmesh.coordinator.store import Member, RefusalError
from tunnelmesh.errors import StoreError, UnknownPeerError
from tunnelmesh.identity import Identity
from tunnelmesh.wire import frame
from tunnelmesh.wire.administration import Leave, Removed, Rename, Renamed
from tunnelmesh.wire.signal import LEFT, REVOKED, Refused, Roster, RosterEntry, SignIn, Welcome

NOW = 1_800_000_000
SECRET = b"s" * 16


class MembershipTestCase(SignallingTestCase):
    """Alice and bob are in a real store; alice is online."""

    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / FILE_NAME
        self.store = self.open_store()
        self.do(self.store.invite(SECRET, 10, NOW + 60, NOW))
        for who, name in ((ALICE, "alice"), (BOB, "bob")):
            self.do(self.store.enrol(SECRET, name, who.public_key, NOW))
        self.membership = Membership(self.clock, self.store, self.signalling, lambda: NOW + 7.5)
        self.do(self.membership.load())
        self.alice = self.sign_in(ALICE)

    def open_store(self) -> SQLiteStore:
        """The database, as the present or another process sees it."""
        store = SQLiteStore(self.path)
        self.addCleanup(store.close)
        return store

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What a coroutine that waits for nothing returns."""
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def fails(self, coroutine: Coroutine[Any, Any, Any], error: type[Exception]) -> str:
        """What it says when it fails."""
        failure = self.failureResultOf(Deferred.fromCoroutine(coroutine), error)
        return str(failure.value)

    def stored(self) -> dict[str, Member]:
        """Everybody in the store, by name."""
        return {member.name: member for member in self.do(self.store.members())}

    def told(self, link: FakeLink) -> dict[str, RosterEntry]:
        """What the link was told of others since the last call."""
        rosters = [message for message in link.take(Roster) if isinstance(message, Roster)]
        return {entry.name: entry for roster in rosters for entry in roster.peers}

    def sign_in_userspace(self, who: Identity) -> FakeLink:
        """Somebody without a network device signs in."""
        link = FakeLink("ssh", key=who.public_key)
        self.signalling.link_opened(link)
        self.receive(link, SignIn(who.public_key, b"", userspace=True))
        self.clock.advance(0.001)
        return link


class RevokeTests(MembershipTestCase):
    """The owner removes a member."""

    def test_interface(self) -> None:
        """It attends to the signalling."""
        verifyObject(IAttendant, self.membership)

    def test_removed(self) -> None:
        """It is told and cut off, the others are told, and a restart does not bring it back."""
        bob = self.sign_in(BOB)
        self.alice.take()
        did = self.do(self.membership.revoke("bob"))
        self.clock.advance(1)
        self.assertEqual(
            did, {"name": "bob", "address": "100.96.0.2", "online": True, "invitations": 1}
        )
        (refused,) = bob.take(Refused)
        assert isinstance(refused, Refused)
        self.assertEqual((refused.code, bob.closed), (REVOKED, refused.message))
        self.assertIn("tunnelmesh leave", refused.message)
        self.assertEqual(self.alice.take(), [Removed((ADDRESS[BOB],))])
        self.assertEqual(list(self.stored()), ["alice"])
        self.assertEqual([m["name"] for m in self.signalling.status()], ["alice"])

    def test_many_links(self) -> None:
        """Every link of it is closed."""
        links = [self.sign_in(BOB) for _ in range(MOST_LINKS)]
        self.do(self.membership.revoke("bob"))
        self.assertTrue(all(len(link.take(Refused)) == 1 for link in links))
        self.assertTrue(all(link.closed for link in links))
        self.receive(links[0], Leave(), (frame.RELAY, ADDRESS[ALICE].packed + b"x"))
        self.assertEqual(self.alice.bulk, [])

    def test_comes_back(self) -> None:
        """Its sign-in is refused with the same words, over either kind of link, also later."""
        self.do(self.membership.revoke("bob"))
        self.assertTrue(self.signalling.is_expected(BOB.public_key))
        for _ in range(2):
            ssh = FakeLink("ssh", key=BOB.public_key)
            self.signalling.link_opened(ssh)
            self.receive(ssh, SignIn(BOB.public_key, b""))
            for link in (ssh, self.sign_in(BOB)):
                (refused,) = link.take(Refused)
                assert isinstance(refused, Refused)
                self.assertEqual(refused.code, REVOKED)
            self.signalling.admission.barred.clear()
            self.do(self.membership.load())

    def test_enrols_again(self) -> None:
        """With a new invitation it is a member again, at its old address, and is believed."""
        self.do(self.membership.revoke("bob"))
        self.clock.advance(1)
        self.fails(self.store.enrol(SECRET, "bob", BOB.public_key, NOW), RefusalError)
        self.do(self.store.invite(b"new", 1, NOW + 60, NOW))
        member = self.do(self.store.enrol(b"new", "bob", BOB.public_key, NOW))
        self.assertEqual(member.address, ADDRESS[BOB])
        self.signalling.add_members([member])
        self.assertEqual(len(self.sign_in(BOB).take(Welcome)), 1)
        self.assertTrue(self.told(self.alice)["bob"].online)

    def test_at_once(self) -> None:
        """Removed and enrolled again before anybody was told: others hear both, in this order."""
        self.alice.take()
        self.do(self.membership.revoke("bob"))
        self.signalling.add_members([Member("new", STRANGER.public_key, ADDRESS[BOB], 0)])
        self.clock.advance(1)
        removed, roster = self.alice.take()
        self.assertEqual(removed, Removed((ADDRESS[BOB],)))
        assert isinstance(roster, Roster)
        self.assertEqual([entry.name for entry in roster.peers], ["new"])

    def test_whole_roster(self) -> None:
        """Who signs in afterwards does not hear of it at all."""
        self.do(self.membership.revoke("alice"))
        self.assertEqual(self.told(self.sign_in(BOB)), {})

    def test_unknown(self) -> None:
        """A name that nobody has: the nearest is suggested, and nobody is removed."""
        self.assertIn(
            "did you mean 'alice'?", self.fails(self.membership.revoke("alcie"), UnknownPeerError)
        )
        self.assertIn(
            "tunnelmesh members", self.fails(self.membership.revoke(""), UnknownPeerError)
        )
        self.assertEqual(len(self.stored()), 2)

    def test_by_address(self) -> None:
        """A member is found by its address, and by its name in the mesh's zone."""
        self.assertEqual(self.do(self.membership.revoke("100.96.0.2"))["name"], "bob")
        self.assertEqual(self.do(self.membership.revoke("Alice.mesh"))["name"], "alice")

    def test_store_fails(self) -> None:
        """What cannot be written is not done: after a restart it would be back."""
        self.store.close()
        self.fails(self.membership.revoke("alice"), StoreError)
        self.assertIsNone(self.alice.closed)


class LeaveTests(MembershipTestCase):
    """A member goes by itself."""

    def test_leaves(self) -> None:
        """It is told that it has left, and may return by an invitation that there is."""
        bob = self.sign_in(BOB)
        self.receive(self.alice, Leave())
        self.clock.advance(1)
        (refused,) = self.alice.take(Refused)
        assert isinstance(refused, Refused)
        self.assertEqual(refused.code, LEFT)
        self.assertIsNotNone(self.alice.closed)
        self.assertEqual(bob.take(Removed), [Removed((ADDRESS[ALICE],))])
        self.assertEqual(list(self.stored()), ["bob"])
        self.assertFalse(self.signalling.is_expected(ALICE.public_key))
        again = self.do(self.store.enrol(SECRET, "alice", ALICE.public_key, NOW))
        self.assertEqual(again.address, ADDRESS[ALICE])

    def test_twice(self) -> None:
        """Saying it twice in one breath does no harm."""
        self.receive(self.alice, Leave(), Leave())
        self.assertEqual(list(self.stored()), ["bob"])


class RenameTests(MembershipTestCase):
    """Names change."""

    def test_by_the_owner(self) -> None:
        """The member and the others are told, and the store keeps it."""
        bob = self.sign_in(BOB)
        did = self.do(self.membership.rename("alice", "laptop"))
        self.clock.advance(1)
        self.assertEqual(did, {"name": "laptop", "address": "100.96.0.1", "online": True})
        self.assertEqual(self.alice.take(Renamed), [Renamed("laptop")])
        entry = self.told(bob)["laptop"]
        self.assertEqual((entry.key, entry.online), (ALICE.public_key, True))
        self.assertEqual(list(self.stored()), ["laptop", "bob"])
        self.lose(bob)
        self.assertFalse(self.do(self.membership.rename("bob", "b"))["online"])

    def test_by_itself(self) -> None:
        """A member asks for another name and gets it; its next welcome names it so."""
        self.receive(self.alice, Rename("laptop"))
        self.assertEqual(self.alice.take(Renamed), [Renamed("laptop")])
        (welcome,) = self.sign_in(ALICE).take(Welcome)
        assert isinstance(welcome, Welcome)
        self.assertEqual(welcome.name, "laptop")

    def test_taken(self) -> None:
        """A name that is another's is refused, with the old one; so is one that cannot be."""
        for name, words in (("bob", "another machine is called"), ("B ob", "letters")):
            self.receive(self.alice, Rename(name))
            (answer,) = self.alice.take(Renamed)
            assert isinstance(answer, Renamed)
            self.assertEqual(answer.name, "alice")
            self.assertIn(words, answer.refusal)
            self.fails(self.membership.rename("alice", name), RefusalError)
        self.assertEqual(list(self.stored()), ["alice", "bob"])

    def test_race(self) -> None:
        """Two who want one name: the first gets it."""
        bob = self.sign_in(BOB)
        self.receive(self.alice, Rename("laptop"))
        self.receive(bob, Rename("laptop"))
        self.assertEqual(self.alice.take(Renamed), [Renamed("laptop")])
        (answer,) = bob.take(Renamed)
        assert isinstance(answer, Renamed)
        self.assertEqual((answer.name, bool(answer.refusal)), ("bob", True))

    def test_flood(self) -> None:
        """A thousand names in a breath: a few are taken, others hear of them once, then no more."""
        bob = self.sign_in(BOB)
        bob.take()
        self.receive(self.alice, *(Rename(f"n{n}") for n in range(1000)))
        self.clock.advance(1)
        self.assertEqual(list(self.stored()), [f"n{RENAMES - 1}", "bob"])
        self.assertEqual(list(self.told(bob)), [f"n{RENAMES - 1}"])
        answers = [a for a in self.alice.take(Renamed) if isinstance(a, Renamed)]
        self.assertIn("too many", answers[-1].refusal)
        self.clock.advance(RENAME_INTERVAL)
        self.receive(self.sign_in(ALICE), Rename("late"))
        self.assertIn("late", self.stored())

    def test_unread_answers(self) -> None:
        """A member that does not read is not written to without end."""
        self.alice.paused = True
        self.alice.take()
        self.receive(self.alice, *(Rename("bob") for _ in range(100)))
        self.assertEqual(self.alice.take(Renamed), [])

    def test_store_fails(self) -> None:
        """The member hears that it is not its fault."""
        self.store.close()
        self.receive(self.alice, Rename("laptop"))
        (answer,) = self.alice.take(Renamed)
        assert isinstance(answer, Renamed)
        self.assertIn("tell its owner", answer.refusal)


class SeenTests(MembershipTestCase):
    """When members were last online."""

    def test_goes_offline(self) -> None:
        """The others are told since when, and that survives a restart; online it is nothing."""
        bob = self.sign_in(BOB)
        self.assertEqual(self.told(bob)["alice"].seen, 0)
        self.lose(self.alice)
        self.clock.advance(1)
        self.assertEqual(self.told(bob)["alice"].seen, NOW + 7)
        (status,) = [m for m in self.signalling.status() if m["name"] == "alice"]
        self.assertEqual((status["online"], status["last_seen"]), (False, NOW + 7))
        self.clock.advance(WRITE_DELAY)
        self.assertEqual(self.stored()["alice"].seen, NOW + 7)
        self.sign_in(ALICE)
        self.clock.advance(1)
        self.assertEqual(self.told(bob)["alice"].seen, 0)

    def test_coordinator_stops(self) -> None:
        """Those who were online when the coordinator stopped were seen then."""
        self.signalling.stop()
        self.do(self.membership.stop())
        self.assertEqual(self.stored()["alice"].seen, NOW + 7)
        self.assertEqual(self.stored()["bob"].seen, 0)
        self.clock.advance(60)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_written_together(self) -> None:
        """A hundred comings and goings are a single transaction."""
        self.clock.advance(WRITE_DELAY)
        writes: list[int] = []
        saw = self.store.saw

        async def counted(members: list[Member]) -> None:
            writes.append(len(members))
            await saw(members)

        self.patch(self.store, "saw", counted)
        for _ in range(50):
            self.lose(self.sign_in(BOB))
        self.clock.advance(WRITE_DELAY)
        self.assertEqual(writes, [1])

    def test_userspace(self) -> None:
        """Who has no network device is shown so, to everybody, until it comes with one."""
        self.alice.take()
        bob = self.sign_in_userspace(BOB)
        self.assertTrue(self.told(self.alice)["bob"].userspace)
        self.lose(bob)
        self.clock.advance(WRITE_DELAY)
        entry = self.told(self.alice)["bob"]
        self.assertEqual((entry.online, entry.userspace), (False, True))
        self.assertTrue(self.stored()["bob"].userspace)
        self.sign_in(BOB)
        self.clock.advance(1)
        self.assertFalse(self.told(self.alice)["bob"].userspace)

    def test_store_fails(self) -> None:
        """When it cannot be written, the mesh goes on."""
        self.store.close()
        self.clock.advance(WRITE_DELAY)
        self.assertEqual(len(self.sign_in(BOB).take(Welcome)), 1)
