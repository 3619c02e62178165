"""The store in one SQLite file, for one coordinator on one machine.

Calls are synchronous: each is a few pages of work, and a transaction waits for the disk because a
member that has been told its address must keep it. ``tunnelmesh invite`` writes to the same file
from its own process.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from zope.interface import implementer

from tunnelmesh.config import DEFAULT_POOL
from tunnelmesh.coordinator.sqlite_schema import VERSION, bring_up
from tunnelmesh.coordinator.store import (
    Invitation,
    IStore,
    Member,
    RefusalError,
    secret_digest,
)
from tunnelmesh.errors import StoreError

FILE_NAME = "coordinator.sqlite3"
"""The database's name inside the state directory."""

BUSY_TIMEOUT = 2.0
"""Seconds to wait for the other process's transaction, which takes milliseconds."""

KEEP_EXPIRED = 7 * 86400
"""Seconds that an expired invitation is kept, to be able to say that it has expired."""

_MEMBER = "SELECT name, key, address, enrolled, userspace, seen FROM members"


@implementer(IStore)
class SQLiteStore:
    """An :class:`~tunnelmesh.coordinator.store.IStore` in a file.

    :param path: the file; made, readable by its owner only, if it does not exist.
    :param pool: where to take mesh addresses from. Its network and broadcast addresses stay free.
    :raises StoreError: if the file cannot be used: not a database, damaged, or a newer version's.
    """

    def __init__(self, path: Path, pool: IPv4Network = DEFAULT_POOL) -> None:
        self._path = path
        self._pool = pool
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"cannot open the database {path}: {error.strerror}") from None
        with self._errors():
            self._database = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            with self._errors():
                self._prepare()
        except StoreError:
            self._database.close()
            raise

    async def members(self) -> list[Member]:
        with self._errors():
            rows = self._database.execute(f"{_MEMBER} ORDER BY address").fetchall()
        return [_member(row) for row in rows]

    async def invite(self, secret: bytes, uses: int, expires: int, now: int) -> int:
        with self._transaction() as database:
            database.execute("DELETE FROM invitations WHERE expires < ?", (now - KEEP_EXPIRED,))
            made = database.execute(
                "INSERT INTO invitations (digest, uses_left, expires) VALUES (?, ?, ?)",
                (secret_digest(secret), uses, expires),
            )
        return made.lastrowid or 0

    async def invitations(self, now: int) -> list[Invitation]:
        with self._errors():
            rows = self._database.execute(
                "SELECT number, uses_left, expires FROM invitations"
                " WHERE expires > ? AND uses_left > 0 ORDER BY number",
                (now,),
            ).fetchall()
        return [Invitation(*row) for row in rows]

    async def cancel(self, number: int) -> bool:
        with self._transaction() as database:
            done = database.execute("DELETE FROM invitations WHERE number = ?", (number,))
        return done.rowcount > 0

    async def enrol(self, secret: bytes, name: str, key: bytes, now: int) -> Member:
        with self._transaction() as database:
            digest = secret_digest(secret)
            invitation = database.execute(
                "SELECT number, uses_left, expires FROM invitations WHERE digest = ?", (digest,)
            ).fetchone()
            if invitation is None:
                raise RefusalError(
                    "unknown-token", "the coordinator does not know this token: ask for a new one"
                )
            number, uses_left, expires = invitation
            if expires <= now:
                raise RefusalError("expired", "the token has expired: ask for a new one")
            known = self._known(database, name, key)
            if known is not None:
                return known
            if uses_left == 0:
                raise RefusalError("used-up", "the token has been used already: ask for a new one")
            address = self._former_address(database, key, number) or self._free_address(database)
            member = Member(name, key, address, now)
            database.execute(
                "UPDATE invitations SET uses_left = uses_left - 1 WHERE digest = ?", (digest,)
            )
            database.execute(
                "INSERT INTO members (name, key, address, enrolled) VALUES (?, ?, ?, ?)",
                (name, key, int(address), now),
            )
        return member

    async def remove(self, key: bytes, now: int, *, barred: bool) -> None:
        with self._transaction() as database:
            last = "(SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence)" if barred else "-1"
            database.execute(
                "INSERT INTO retired (key, address, since, barred)"
                f" SELECT key, address, ?, {last} FROM members WHERE key = ?",
                (now, key),
            )
            database.execute("DELETE FROM members WHERE key = ?", (key,))

    async def barred(self) -> set[bytes]:
        with self._errors():
            rows = self._database.execute("SELECT key FROM retired WHERE barred >= 0").fetchall()
        return {key for (key,) in rows}

    async def rename(self, key: bytes, name: str) -> None:
        with self._transaction() as database:
            taken = "SELECT 1 FROM members WHERE name = ? AND key != ?"
            if database.execute(taken, (name, key)).fetchone():
                raise RefusalError("name-taken", f"another machine is called {name!r} already")
            database.execute("UPDATE members SET name = ? WHERE key = ?", (name, key))

    async def saw(self, members: Sequence[Member]) -> None:
        with self._transaction() as database:
            database.executemany(
                "UPDATE members SET seen = ?, userspace = ? WHERE key = ?",
                [(member.seen, member.userspace, member.key) for member in members],
            )

    def close(self) -> None:
        self._database.close()

    def _known(self, database: sqlite3.Connection, name: str, key: bytes) -> Member | None:
        """The member of that name and key.

        :raises RefusalError: if the name is another's, or the key has another name.
        """
        rows = database.execute(f"{_MEMBER} WHERE name = ? OR key = ?", (name, key)).fetchall()
        for member in map(_member, rows):
            if member.name == name and member.key == key:
                return member
            if member.name == name:
                raise RefusalError(
                    "name-taken",
                    f"another machine is called {name!r} already: choose another with --name",
                )
            raise RefusalError(
                "key-taken",
                f"this machine is a member already, as {member.name!r}: join under that name",
            )
        return None

    def _former_address(
        self, database: sqlite3.Connection, key: bytes, number: int
    ) -> IPv4Address | None:
        """The address that a former member had, which is not retired any more.

        :raises RefusalError: if it may not come back by the invitation of that number.
        """
        found = database.execute(
            "SELECT address, barred FROM retired WHERE key = ?", (key,)
        ).fetchone()
        if found is None:
            return None
        address, barred = found
        if number <= barred:
            raise RefusalError(
                "removed",
                "this machine was removed from the mesh, and the token is older than that: ask"
                " for a new one",
            )
        database.execute("DELETE FROM retired WHERE key = ?", (key,))
        former = None if address is None else IPv4Address(address)
        return former if former is not None and former in self._pool else None

    def _free_address(self, database: sqlite3.Connection) -> IPv4Address:
        """The address after the highest one ever given, or else the one retired longest.

        :raises RefusalError: if there is none.
        """
        first = int(self._pool.network_address) + 1
        last = int(self._pool.broadcast_address) - 1
        (highest,) = database.execute(
            "SELECT MAX(address)"
            " FROM (SELECT address FROM members UNION SELECT address FROM retired)"
            " WHERE address BETWEEN ? AND ?",
            (first, last),
        ).fetchone()
        address = first if highest is None else highest + 1
        if address <= last:
            return IPv4Address(address)
        retired = database.execute(
            "SELECT address FROM retired WHERE address BETWEEN ? AND ? ORDER BY since LIMIT 1",
            (first, last),
        ).fetchone()
        if retired is None:
            raise RefusalError(
                "pool-exhausted",
                f"the coordinator's address pool {self._pool} is used up: its owner must widen it",
            )
        database.execute("UPDATE retired SET address = NULL WHERE address = ?", retired)
        return IPv4Address(retired[0])

    def _prepare(self) -> None:
        """Bring a new file to the present version, and refuse what is not ours or is damaged."""
        database = self._database
        database.execute("PRAGMA journal_mode = WAL")
        # In WAL mode, only FULL waits for the disk at each commit.
        database.execute("PRAGMA synchronous = FULL")
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        with self._transaction():
            (version,) = database.execute("PRAGMA user_version").fetchone()
            (tables,) = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            if version > VERSION:
                raise StoreError(
                    f"the database {self._path} was written by a newer TunnelMesh: update this one"
                )
            if version == 0 and tables:
                raise StoreError(f"{self._path} is another program's database: move it away")
            if version < VERSION:
                bring_up(database, version)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of what is done inside, durably, or nothing of it."""
        with self._errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """SQLite's complaints as one line for people."""
        try:
            yield
        except (sqlite3.OperationalError, sqlite3.ProgrammingError) as error:
            raise StoreError(f"cannot use the database {self._path}: {error}") from None
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"the database {self._path} is damaged ({_one_line(error)}): restore it from a"
                " backup, or move it away to begin an empty mesh"
            ) from None


def _member(row: tuple[str, bytes, int, int, int, int]) -> Member:
    name, key, address, enrolled, userspace, seen = row
    return Member(name, key, IPv4Address(address), enrolled, bool(userspace), seen)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:100]
