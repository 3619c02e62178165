"""What has happened in the mesh lately, as far as the coordinator knows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from zope.interface import implementer

from tunnelmesh.coordinator.presence import IAttendant, Presence
from tunnelmesh.coordinator.store import Member
from tunnelmesh.wire import signal

MOST = 400
"""Changes that are remembered: a day of a small mesh, and 100 KB for a page to load."""

NEW = 60.0
"""Seconds after its enrolment within which a member that comes online has just joined."""


@implementer(IAttendant)
class History:
    """The last changes, oldest first.

    :param unix_time: the time of day.
    :ivar changed: is called after each.
    """

    def __init__(self, unix_time: Callable[[], float]) -> None:
        self.changed: Callable[[], None] = lambda: None
        self._unix_time = unix_time
        self._entries: deque[dict[str, Any]] = deque(maxlen=MOST)
        self._online: set[IPv4Address] = set()
        self._number = 0

    def since(self, number: int) -> tuple[list[dict[str, Any]], int]:
        """The changes after that number, and the number of the last one."""
        return [entry for entry in self._entries if entry["n"] > number], self._number

    def record(self, what: str, member: Member, **more: str) -> None:
        """Something has happened to a member."""
        self._number += 1
        at = round(self._unix_time(), 1)
        name, who = member.name, str(member.address)
        self._entries.append(
            {"n": self._number, "at": at, "what": what, "who": who, "name": name, **more}
        )
        self.changed()

    # IAttendant

    def arrived(self, presence: Presence) -> None:
        member = presence.member
        if member.address not in self._online:
            self._online.add(member.address)
            is_new = self._unix_time() - member.enrolled < NEW
            self.record("joined" if is_new else "online", member)

    def told(self, presence: Presence, message: signal.Signal) -> bool:
        return False

    def left(self, presence: Presence) -> None:
        self._online.discard(presence.member.address)
        self.record("offline", presence.member)
