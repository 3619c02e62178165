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
                kept = _encode(_without(receiver, piece))
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
        self._pieces = [
            entries[at : at + ROSTER_CHUNK] for at in range(0, len(entries), ROSTER_CHUNK)
        ]
        self._messages = [_encode(piece) for piece in self._pieces]
        self._places = {
            entry.address: number for number, piece in enumerate(self._pieces) for entry in piece
        }

    def messages(self, receiver: IPv4Address) -> list[bytes]:
        """What to send to a receiver, who is not told of itself."""
        place = self._places.get(receiver)
        if place is None:
            return self._messages
        messages = self._messages.copy()
        others = _without(receiver, self._pieces[place])
        messages[place : place + 1] = [_encode(others)] if others else []
        return messages


def _without(receiver: IPv4Address, entries: list[RosterEntry]) -> list[RosterEntry]:
    return [entry for entry in entries if entry.address != receiver]


def _encode(entries: list[RosterEntry]) -> bytes:
    return signal.encode(signal.Roster(tuple(entries)))
