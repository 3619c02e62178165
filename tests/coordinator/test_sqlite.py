"""The coordinator's database, also when everything around it dies."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Coroutine
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from stat import S_IMODE
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tunnelmesh.coordinator.sqlite import FILE_NAME, KEEP_EXPIRED, SQLiteStore
from tunnelmesh.coordinator.sqlite_schema import VERSION
from tunnelmesh.coordinator.store import (
    Invitation,
    IStore,
    Member,
    RefusalError,
    secret_digest,
)
from tunnelmesh.errors import StoreError

NOW = 1_800_000_000
SECRET = b"s" * 16
CHILD = """
import sys
from pathlib import Path
from twisted.internet.defer import Deferred
from tunnelmesh.coordinator.sqlite import SQLiteStore

store = SQLiteStore(Path(sys.argv[1]))

def run(coroutine):
    got = []
    Deferred.fromCoroutine(coroutine).addCallback(got.append)
    return got[0]

"""


class StoreTestCase(SynchronousTestCase):
    """A store in a file of its own."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / FILE_NAME

    def open(self, pool: str = "100.96.0.0/16") -> SQLiteStore:
        """The store, closed at the end of the test."""
        store = SQLiteStore(self.path, IPv4Network(pool))
        self.addCleanup(store.close)
        return store

    def run_now(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What a coroutine that waits for nothing returns."""
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def invite(self, store: SQLiteStore, uses: int = 1, expires: int = NOW + 60) -> None:
        """Let *uses* machines in."""
        self.run_now(store.invite(SECRET, uses, expires, NOW))

    def enrol(self, store: SQLiteStore, name: str, key: bytes | None = None) -> Member:
        """Enrol *name*, whose key is its name if no other is given."""
        member: Member = self.run_now(store.enrol(SECRET, name, key or key_of(name), NOW))
        return member

    def refused(self, store: SQLiteStore, name: str, key: bytes | None = None) -> str:
        """The code that enrolling *name* is refused with."""
        failure = self.failureResultOf(
            Deferred.fromCoroutine(store.enrol(SECRET, name, key or key_of(name), NOW)),
            RefusalError,
        )
        return str(failure.value.code)  # type: ignore[attr-defined]


def key_of(name: str) -> bytes:
    """A key that is different for every name."""
    return name.encode().ljust(32, b"\0")


class EnrolTests(StoreTestCase):
    """Who is let in, and with which address."""

    def test_interface(self) -> None:
        """The store is what it says."""
        verifyObject(IStore, self.open())

    def test_addresses_in_turn(self) -> None:
        """Members get the pool's addresses one after the other, never its first or last."""
        store = self.open("10.0.0.0/29")
        self.invite(store, uses=9)
        got = [str(self.enrol(store, f"m{number}").address) for number in range(6)]
        self.assertEqual(got, [f"10.0.0.{number}" for number in range(1, 7)])
        self.assertEqual(self.refused(store, "m6"), "pool-exhausted")

    def test_remembered(self) -> None:
        """Members are there after the file is opened again."""
        store = self.open()
        self.invite(store)
        member = self.enrol(store, "laptop")
        store.close()
        self.assertEqual(self.run_now(self.open().members()), [member])
        self.assertEqual(member, Member("laptop", key_of("laptop"), IPv4Address("100.96.0.1"), NOW))

    def test_uses(self) -> None:
        """An invitation lets in as many as it says."""
        store = self.open()
        self.invite(store, uses=2)
        self.enrol(store, "a")
        self.enrol(store, "b")
        self.assertEqual(self.refused(store, "c"), "used-up")

    def test_expired(self) -> None:
        """An invitation ends, and later is forgotten."""
        store = self.open()
        self.invite(store, expires=NOW)
        self.assertEqual(self.refused(store, "a"), "expired")
        self.run_now(store.invite(b"other", 1, NOW * 2, NOW + KEEP_EXPIRED + 1))
        self.assertEqual(self.refused(store, "a"), "unknown-token")

    def test_asking_again(self) -> None:
        """A member whose answer was lost asks again and gets the same, though nothing is left."""
        store = self.open()
        self.invite(store)
        first = self.enrol(store, "a")
        self.assertEqual(self.enrol(store, "a"), first)
        self.assertEqual(self.refused(store, "b"), "used-up")

    def test_name_taken(self) -> None:
        """A name belongs to the key that had it first, and a refusal takes no use."""
        store = self.open()
        self.invite(store, uses=2)
        self.enrol(store, "a")
        self.assertEqual(self.refused(store, "a", key_of("b")), "name-taken")
        self.enrol(store, "b")

    def test_key_taken(self) -> None:
        """A machine cannot be in the mesh under two names."""
        store = self.open()
        self.invite(store, uses=2)
        self.enrol(store, "a")
        self.assertEqual(self.refused(store, "b", key_of("a")), "key-taken")

    def test_pool_moved(self) -> None:
        """With another pool, old members keep their addresses and new ones get new ones."""
        store = self.open()
        self.invite(store, uses=2)
        self.enrol(store, "a")
        store.close()
        store = self.open("10.9.0.0/24")
        self.enrol(store, "b")
        members = self.run_now(store.members())
        self.assertEqual([str(m.address) for m in members], ["10.9.0.1", "100.96.0.1"])

    def test_secret_is_not_kept(self) -> None:
        """Who steals the database cannot join with what is in it."""
        store = self.open()
        self.invite(store)
        files = list(self.path.parent.iterdir())
        self.assertTrue(files)
        for file in files:
            self.assertNotIn(SECRET, file.read_bytes())


class LeavingTests(StoreTestCase):
    """Members go, come back, and change their names."""

    def remove(self, store: SQLiteStore, name: str, *, barred: bool = True) -> None:
        """Remove *name*."""
        self.run_now(store.remove(key_of(name), NOW, barred=barred))

    def names(self, store: SQLiteStore) -> list[str]:
        """Everybody."""
        return [member.name for member in self.run_now(store.members())]

    def test_removed(self) -> None:
        """Who was removed is no member any more, also after a restart."""
        store = self.open()
        self.invite(store, uses=2)
        self.enrol(store, "a")
        self.enrol(store, "b")
        self.remove(store, "a")
        store.close()
        store = self.open()
        self.assertEqual(self.names(store), ["b"])
        self.assertEqual(self.run_now(store.barred()), {key_of("a")})

    def test_only_by_a_new_invitation(self) -> None:
        """Who was removed comes back by an invitation that was made afterwards, and no other."""
        store = self.open()
        self.invite(store, uses=5)
        first = self.enrol(store, "a")
        self.remove(store, "a")
        self.assertEqual(self.refused(store, "a"), "removed")
        self.assertEqual(self.refused(store, "another-name", key_of("a")), "removed")
        self.run_now(store.invite(b"new", 1, NOW + 60, NOW))
        again = self.run_now(store.enrol(b"new", "a", key_of("a"), NOW))
        self.assertEqual(again, first)
        self.assertEqual(self.run_now(store.barred()), set())

    def test_who_left_may_return(self) -> None:
        """Who left by itself comes back by any invitation, and is not among the barred."""
        store = self.open()
        self.invite(store, uses=2)
        first = self.enrol(store, "a")
        self.remove(store, "a", barred=False)
        self.assertEqual(self.run_now(store.barred()), set())
        self.assertEqual(self.enrol(store, "a"), first)

    def test_barred_without_invitations(self) -> None:
        """Who was removed before there was any numbered invitation is barred too."""
        store = self.open()
        with sqlite3.connect(self.path) as database:
            database.execute("INSERT INTO members VALUES ('a', ?, 1, 0, 0, 0)", (key_of("a"),))
        database.close()
        self.remove(store, "a")
        self.assertEqual(self.run_now(store.barred()), {key_of("a")})

    def test_address_is_not_given_on(self) -> None:
        """The address of who went is not the next one's, though it was the highest."""
        store = self.open()
        self.invite(store, uses=3)
        self.enrol(store, "a")
        self.enrol(store, "b")
        self.remove(store, "b")
        self.assertEqual(str(self.enrol(store, "c").address), "100.96.0.3")

    def test_small_pool(self) -> None:
        """When no fresh address is left, the one that was given up first is used again."""
        store = self.open("10.9.0.0/29")
        self.invite(store, uses=20)
        for name in "abcdef":
            self.enrol(store, name)
        self.assertEqual(self.refused(store, "g"), "pool-exhausted")
        self.run_now(store.remove(key_of("e"), NOW + 1, barred=True))
        self.run_now(store.remove(key_of("b"), NOW + 2, barred=True))
        self.assertEqual(str(self.enrol(store, "g").address), "10.9.0.5")
        self.assertEqual(self.refused(store, "e"), "removed", "the bar went with the address")
        self.run_now(store.invite(b"new", 2, NOW + 60, NOW))
        back = self.run_now(store.enrol(b"new", "e", key_of("e"), NOW))
        self.assertEqual(str(back.address), "10.9.0.2")
        self.assertEqual(self.refused(store, "h"), "pool-exhausted")

    def test_rename(self) -> None:
        """A member gets another name, but nobody else's, and the old one is free."""
        store = self.open()
        self.invite(store, uses=3)
        self.enrol(store, "a")
        self.enrol(store, "b")
        renaming = Deferred.fromCoroutine(store.rename(key_of("a"), "b"))
        self.assertEqual(self.failureResultOf(renaming, RefusalError).value.code, "name-taken")
        self.run_now(store.rename(key_of("a"), "a"))
        self.run_now(store.rename(key_of("a"), "c"))
        self.assertEqual(self.names(store), ["c", "b"])
        self.enrol(store, "a", key_of("d"))

    def test_seen(self) -> None:
        """When members were seen, and as what, survives; who is gone by then does not matter."""
        store = self.open()
        self.invite(store, uses=2)
        a, b = self.enrol(store, "a"), self.enrol(store, "b")
        self.assertEqual((a.seen, a.userspace), (0, False))
        self.remove(store, "b")
        seen = replace(a, seen=NOW + 5, userspace=True)
        self.run_now(store.saw([seen, replace(b, seen=NOW + 5)]))
        store.close()
        self.assertEqual(self.run_now(self.open().members()), [seen])


class InvitationTests(StoreTestCase):
    """What invitations there are."""

    def test_listed(self) -> None:
        """Those that let somebody in are listed, with how many."""
        store = self.open()
        self.invite(store, uses=2)
        self.run_now(store.invite(b"old", 1, NOW, NOW - 60))
        number = self.run_now(store.invite(b"long", 9, NOW + 600, NOW))
        self.enrol(store, "a")
        expected = [Invitation(1, 1, NOW + 60), Invitation(3, 9, NOW + 600)]
        self.assertEqual(number, 3)
        self.assertEqual(self.run_now(store.invitations(NOW)), expected)
        self.enrol(store, "b")
        self.assertEqual(self.run_now(store.invitations(NOW)), expected[1:])

    def test_cancelled(self) -> None:
        """A cancelled invitation lets nobody in, and its number is not given again."""
        store = self.open()
        self.invite(store, uses=2)
        self.assertTrue(self.run_now(store.cancel(1)))
        self.assertFalse(self.run_now(store.cancel(1)))
        self.assertEqual(self.refused(store, "a"), "unknown-token")
        self.assertEqual(self.run_now(store.invite(b"next", 1, NOW + 60, NOW)), 2)


class MigrationTests(StoreTestCase):
    """A file of the version before."""

    FIRST = (
        "CREATE TABLE members (name TEXT PRIMARY KEY, key BLOB NOT NULL UNIQUE,"
        " address INTEGER NOT NULL UNIQUE, enrolled INTEGER NOT NULL)",
        "CREATE TABLE invitations (digest BLOB PRIMARY KEY,"
        " uses_left INTEGER NOT NULL CHECK (uses_left >= 0), expires INTEGER NOT NULL)",
        "PRAGMA user_version = 1",
    )

    def setUp(self) -> None:
        """One member, and one invitation that lets another in."""
        super().setUp()
        address = int(IPv4Address("100.96.0.7"))
        with sqlite3.connect(self.path) as database:
            for statement in self.FIRST:
                database.execute(statement)
            database.execute("INSERT INTO members VALUES ('a', ?, ?, 5)", (key_of("a"), address))
            database.execute(
                "INSERT INTO invitations VALUES (?, 1, ?)", (secret_digest(SECRET), NOW + 60)
            )
        database.close()

    def test_members_and_invitations_stay(self) -> None:
        """Everybody is a member still, and invitations hold."""
        store = self.open()
        old = Member("a", key_of("a"), IPv4Address("100.96.0.7"), 5)
        self.assertEqual(self.run_now(store.members()), [old])
        self.assertEqual(str(self.enrol(store, "b").address), "100.96.0.8")
        self.assertEqual(self.refused(store, "c"), "used-up")
        store.close()
        self.assertEqual(len(self.run_now(self.open().members())), 2)

    def test_all_or_nothing(self) -> None:
        """A migration that cannot be done leaves the file as it was."""
        with sqlite3.connect(self.path) as database:
            database.execute("CREATE TABLE retired (mine)")
        database.close()
        self.assertRaises(StoreError, SQLiteStore, self.path)
        with sqlite3.connect(self.path) as database:
            self.assertEqual(database.execute("PRAGMA user_version").fetchone(), (1,))
            columns = database.execute("SELECT * FROM members").description
            self.assertEqual(len(columns), 4)
        database.close()


class FileTests(StoreTestCase):
    """The file itself."""

    def refused_file(self) -> str:
        """The one line that opening the file is refused with."""
        message = str(self.assertRaises(StoreError, SQLiteStore, self.path))
        self.assertNotIn("\n", message)
        return message

    def test_private(self) -> None:
        """Nobody else may read the database or its journal."""
        store = self.open()
        self.invite(store)
        for file in self.path.parent.iterdir():
            self.assertEqual(S_IMODE(file.stat().st_mode), 0o600, file.name)

    def test_garbage(self) -> None:
        """A file that is no database is left alone."""
        self.path.write_bytes(b"not a database at all" * 100)
        self.assertIn("damaged", self.refused_file())
        self.assertEqual(self.path.read_bytes(), b"not a database at all" * 100)

    def test_damaged(self) -> None:
        """A database whose pages were overwritten is refused."""
        store = self.open()
        self.invite(store, uses=500)
        for number in range(200):
            self.enrol(store, f"m{number}")
        store.close()
        size = self.path.stat().st_size
        with self.path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (size - 8192))
        self.assertIn("damaged", self.refused_file())

    def test_newer(self) -> None:
        """A newer version's database is not touched."""
        self.open().close()
        with sqlite3.connect(self.path) as database:
            database.execute(f"PRAGMA user_version = {VERSION + 1}")
        database.close()
        self.assertIn("newer", self.refused_file())

    def test_another_program(self) -> None:
        """A database that is not ours is not touched."""
        with sqlite3.connect(self.path) as database:
            database.execute("CREATE TABLE cookies (crumbs)")
        database.close()
        self.assertIn("another program", self.refused_file())

    def test_nowhere(self) -> None:
        """A folder that does not exist is named."""
        self.path = self.path / "deeper"
        self.assertIn("cannot open", self.refused_file())

    def test_busy(self) -> None:
        """A database that another process holds for good is an error, not a hang."""
        store = self.open()
        self.invite(store)
        with sqlite3.connect(self.path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            store._database.execute("PRAGMA busy_timeout = 10")
            self.failureResultOf(
                Deferred.fromCoroutine(store.enrol(SECRET, "a", key_of("a"), NOW)), StoreError
            )
        other.close()
        self.enrol(store, "a")


class ProcessTests(StoreTestCase):
    """Several processes, and their death."""

    def child(self, program: str) -> subprocess.Popen[bytes]:
        """A process that runs *program* with ``store`` open."""
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD + program, str(self.path)], stdout=subprocess.PIPE
        )

        def reap() -> None:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

        self.addCleanup(reap)
        return process

    def test_kill_9(self) -> None:
        """Whoever was told an address still has it after the coordinator was killed."""
        self.invite(self.open(), uses=100_000)
        process = self.child(
            "for number in range(100000):\n"
            f"    member = run(store.enrol({SECRET!r}, f'm{{number}}',"
            f" number.to_bytes(32, 'big'), {NOW}))\n"
            "    print(member.name, member.address, flush=True)\n"
        )
        assert process.stdout is not None
        told = [process.stdout.readline().decode().split() for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        told += [line.decode().split() for line in process.stdout if line.endswith(b"\n")]
        kept = {member.name: str(member.address) for member in self.run_now(self.open().members())}
        for name, address in told:
            self.assertEqual(kept[name], address)
        self.assertLessEqual(len(kept), len(told) + 1)

    def test_invitations_and_enrolments_at_once(self) -> None:
        """Another process writes invitations while this one enrols; neither fails."""
        store = self.open()
        self.invite(store, uses=100)
        process = self.child(
            "print('ready', flush=True)\n"
            "for number in range(100):\n"
            f"    run(store.invite(b'%d' % number, 1, {NOW + 60}, {NOW}))\n"
        )
        assert process.stdout is not None
        process.stdout.readline()
        for number in range(100):
            self.enrol(store, f"m{number}")
        self.assertEqual(process.wait(30), 0)
        for number in range(100):
            self.run_now(store.enrol(b"%d" % number, f"n{number}", key_of(f"n{number}"), NOW))
        addresses = {member.address for member in self.run_now(store.members())}
        self.assertEqual(len(addresses), 200)
