"""The list of members, ready to be sent.

Everybody gets the whole list when signing in, and then what changes. In a large mesh, after the
coordinator's restart, that is everybody to everybody: so pieces are encoded once, and kept.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from tunnelmesh.coordinator.store import Member
from tunnelmesh.wire import signal
from tunnelmesh.wire.signal import ROSTER_CHUNK, RosterEntry

COMPLETE = signal.encode(signal.Roster((), complete=True))
"""What ends the whole list."""


class RosterBook:
    """All members, in the order in which they were added."""

    def __init__(self) -> None:
        self._entries: list[RosterEntry] = []
        self._places: dict[IPv4Address, int] = {}
        self._encoded: list[bytes | None] = []
        self._changed: dict[IPv4Address, None] = {}

    def put(self, member: Member, online: bool) -> None:
        """Add a member, or change whether it is online."""
        entry = RosterEntry(member.name, member.key, member.address, online)
        place = self._places.setdefault(member.address, len(self._entries))
        if place < len(self._entries):
            self._entries[place] = entry
        else:
            self._entries.append(entry)
        piece = place // ROSTER_CHUNK
        if piece == len(self._encoded):
            self._encoded.append(None)
        self._encoded[piece] = None
        self._changed[member.address] = None

    def whole(self, receiver: IPv4Address) -> bytes:
        """The frames of the whole list, the receiver excepted."""
        own = self._places[receiver] // ROSTER_CHUNK
        frames = []
        for number, kept in enumerate(self._encoded):
            piece = self._entries[number * ROSTER_CHUNK : (number + 1) * ROSTER_CHUNK]
            if number == own:
                frames.append(_encode([entry for entry in piece if entry.address != receiver]))
                continue
            if kept is None:
                kept = self._encoded[number] = _encode(piece)
            frames.append(kept)
        return b"".join(frames) + COMPLETE

    def take_changes(self) -> Changes:
        """What has changed since the last call."""
        changed = Changes([self._entries[self._places[address]] for address in self._changed])
        self._changed.clear()
        return changed


class Changes:
    """Entries that have changed, for everybody."""

    def __init__(self, entries: list[RosterEntry]) -> None:
        self._entries = entries
        self._addresses = {entry.address for entry in entries}
        self._frames = _pieces(entries)

    def frames(self, receiver: IPv4Address) -> bytes:
        """The frames for a receiver, itself excepted; empty if there is nothing to tell it."""
        if receiver not in self._addresses:
            return self._frames
        return _pieces([entry for entry in self._entries if entry.address != receiver])


def _pieces(entries: list[RosterEntry]) -> bytes:
    pieces = [entries[at : at + ROSTER_CHUNK] for at in range(0, len(entries), ROSTER_CHUNK)]
    return b"".join(map(_encode, pieces))


def _encode(entries: list[RosterEntry]) -> bytes:
    return signal.encode(signal.Roster(tuple(entries)))
