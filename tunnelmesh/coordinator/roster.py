"""The list of members, ready to be sent.

Everybody gets the whole list when signing in, and then what changes. In a large mesh, after the
coordinator's restart, that is everybody to everybody: so pieces are encoded once, and kept.
"""

from __future__ import annotations

from collections.abc import Iterator
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

    def whole(self, receiver: IPv4Address) -> Iterator[bytes]:
        """The whole list, the receiver excepted, message by message.

        Each is as of when it is taken, so that a slow receiver may get changes in between.
        """
        own = self._places[receiver] // ROSTER_CHUNK
        number = 0
        while number < len(self._encoded):
            piece = self._entries[number * ROSTER_CHUNK : (number + 1) * ROSTER_CHUNK]
            kept = self._encoded[number]
            if number == own:
                kept = _encode([entry for entry in piece if entry.address != receiver])
            elif kept is None:
                kept = self._encoded[number] = _encode(piece)
            yield kept
            number += 1
        yield COMPLETE

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
        self._messages = _pieces(entries)

    def messages(self, receiver: IPv4Address) -> list[bytes]:
        """What to send to a receiver, who is not told of itself."""
        if receiver not in self._addresses:
            return self._messages
        return _pieces([entry for entry in self._entries if entry.address != receiver])


def _pieces(entries: list[RosterEntry]) -> list[bytes]:
    return [_encode(entries[at : at + ROSTER_CHUNK]) for at in range(0, len(entries), ROSTER_CHUNK)]


def _encode(entries: list[RosterEntry]) -> bytes:
    return signal.encode(signal.Roster(tuple(entries)))
