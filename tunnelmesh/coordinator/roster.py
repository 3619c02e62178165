"""The list of members, ready to be sent.

Everybody gets the whole list when signing in, and then what changes. In a large mesh, after the
coordinator's restart, that is everybody to everybody: so pieces are encoded once, and kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from typing import TypeVar

from tunnelmesh.coordinator.store import Member
from tunnelmesh.wire import signal
from tunnelmesh.wire.administration import Removed
from tunnelmesh.wire.signal import ROSTER_CHUNK, RosterEntry

T = TypeVar("T")

COMPLETE = signal.encode(signal.Roster((), complete=True))
"""What ends the whole list."""


class RosterBook:
    """All members, each in a place that it keeps; one that is left is taken by who comes next."""

    def __init__(self) -> None:
        self._entries: list[RosterEntry | None] = []
        self._places: dict[IPv4Address, int] = {}
        self._left: list[int] = []
        self._encoded: list[bytes | None] = []
        self._changed: dict[IPv4Address, None] = {}
        self._removed: dict[IPv4Address, None] = {}

    def put(self, member: Member, online: bool) -> None:
        """Add a member, or change what is told of it."""
        place = self._places.get(member.address)
        if place is None:
            place = self._places[member.address] = self._free_place()
        self._entries[place] = RosterEntry(
            member.name,
            member.key,
            member.address,
            online,
            member.userspace,
            0 if online else member.seen,
        )
        self._encoded[place // ROSTER_CHUNK] = None
        self._changed[member.address] = None

    def remove(self, address: IPv4Address) -> None:
        """Take a member off the list."""
        place = self._places.pop(address)
        self._entries[place] = None
        self._left.append(place)
        self._encoded[place // ROSTER_CHUNK] = None
        self._changed.pop(address, None)
        self._removed[address] = None

    def _free_place(self) -> int:
        if self._left:
            return self._left.pop()
        self._entries.append(None)
        if len(self._entries) > len(self._encoded) * ROSTER_CHUNK:
            self._encoded.append(None)
        return len(self._entries) - 1

    def whole(self, receiver: IPv4Address) -> Iterator[bytes]:
        """The whole list, the receiver excepted, message by message.

        Each is as of when it is taken, so that a slow receiver may get changes in between.
        """
        own = self._places[receiver] // ROSTER_CHUNK
        number = 0
        while number < len(self._encoded):
            kept = self._encoded[number]
            if number == own:
                kept = _encode(_without(receiver, self._piece(number)))
            elif kept is None:
                kept = self._encoded[number] = _encode(self._piece(number))
            yield kept
            number += 1
        yield COMPLETE

    def _piece(self, number: int) -> list[RosterEntry]:
        places = self._entries[number * ROSTER_CHUNK : (number + 1) * ROSTER_CHUNK]
        return [entry for entry in places if entry is not None]

    def take_changes(self) -> Changes:
        """What has changed since the last call."""
        entries = [self._entries[self._places[address]] for address in self._changed]
        changes = Changes([entry for entry in entries if entry is not None], tuple(self._removed))
        self._changed.clear()
        self._removed.clear()
        return changes


class Changes:
    """Who has been removed, and entries that have changed, for everybody.

    In this order: the address of one who was removed may be another's by now.
    """

    def __init__(self, entries: list[RosterEntry], removed: Sequence[IPv4Address]) -> None:
        self._removed = [signal.encode(Removed(tuple(piece))) for piece in _chunks(removed)]
        self._pieces = _chunks(entries)
        self._messages = [_encode(piece) for piece in self._pieces]
        self._places = {
            entry.address: number for number, piece in enumerate(self._pieces) for entry in piece
        }

    def messages(self, receiver: IPv4Address) -> list[bytes]:
        """What to send to a receiver, who is not told of itself."""
        place = self._places.get(receiver)
        if place is None:
            return self._removed + self._messages
        messages = self._messages.copy()
        others = _without(receiver, self._pieces[place])
        messages[place : place + 1] = [_encode(others)] if others else []
        return self._removed + messages


def _chunks(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[at : at + ROSTER_CHUNK] for at in range(0, len(items), ROSTER_CHUNK)]


def _without(receiver: IPv4Address, entries: Sequence[RosterEntry]) -> list[RosterEntry]:
    return [entry for entry in entries if entry.address != receiver]


def _encode(entries: Sequence[RosterEntry]) -> bytes:
    return signal.encode(signal.Roster(tuple(entries)))
