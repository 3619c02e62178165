"""The tables of :mod:`tunnelmesh.coordinator.sqlite`, and how older ones become such."""

from __future__ import annotations

import sqlite3

VERSION = 2
"""The schema's version, kept in SQLite's ``user_version``; each differs by what a program of the
version before could not read."""

_FIRST = """
CREATE TABLE members (
    name TEXT PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    address INTEGER NOT NULL UNIQUE,
    enrolled INTEGER NOT NULL
);
CREATE TABLE invitations (
    digest BLOB PRIMARY KEY,
    uses_left INTEGER NOT NULL CHECK (uses_left >= 0),
    expires INTEGER NOT NULL
)
"""

# Who is no member any more keeps its address as long as there are others, since those who knew it
# pinned it. No invitation up to number 'barred' lets it in; it is -1 for who left by itself.
# AUTOINCREMENT, so that no number is ever given twice.
_SECOND = """
ALTER TABLE members ADD COLUMN userspace INTEGER NOT NULL DEFAULT 0;
ALTER TABLE members ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
CREATE TABLE retired (
    key BLOB PRIMARY KEY,
    address INTEGER UNIQUE,
    since INTEGER NOT NULL,
    barred INTEGER NOT NULL
);
ALTER TABLE invitations RENAME TO old_invitations;
CREATE TABLE invitations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    uses_left INTEGER NOT NULL CHECK (uses_left >= 0),
    expires INTEGER NOT NULL
);
INSERT INTO invitations (digest, uses_left, expires)
    SELECT digest, uses_left, expires FROM old_invitations ORDER BY rowid;
DROP TABLE old_invitations
"""

_STEPS = (_FIRST, _SECOND)


def bring_up(database: sqlite3.Connection, version: int) -> None:
    """Bring a file from *version* (0 if it is empty) to :data:`VERSION`, inside a transaction."""
    for step in _STEPS[version:]:
        for statement in step.split(";"):
            database.execute(statement)
    database.execute(f"PRAGMA user_version = {VERSION}")
