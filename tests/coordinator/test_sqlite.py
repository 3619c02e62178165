"""The coordinator's database, also when everything around it dies."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Coroutine
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from stat import S_IMODE
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tunnelmesh.coordinator.sqlite import FILE_NAME, KEEP_EXPIRED, VERSION, SQLiteStore
from tunnelmesh.coordinator.store import IStore, Member, RefusalError
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
