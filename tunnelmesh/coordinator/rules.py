"""Tells each member what it may reach, and who may reach it: the members enforce it themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from tunnelmesh.coordinator.policy_file import PolicyFile
from tunnelmesh.coordinator.presence import IAttendant, Presence
from tunnelmesh.errors import PolicyError
from tunnelmesh.policy.evaluation import Evaluation, Part
from tunnelmesh.policy.parts import split
from tunnelmesh.wire import signal
from tunnelmesh.wire.administration import Rename, Renamed, Rules

LOOK = 2.0
"""Seconds between two looks at the file, and at the members' names: one system call, and soon
enough for somebody who has just saved the file."""

UNRESTRICTED = (signal.encode(Rules()),)
"""What everybody is told without a file: it lifts what an earlier one forbade."""


@implementer(IAttendant)
class AccessRules:
    """Sends rules to everybody who is online.

    :param path: the file of rules, or None for no rules.
    :param members: gives the addresses of all members, by name.
    :raises PolicyError: if the file has a mistake.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        path: Path | None,
        members: Callable[[], Mapping[str, IPv4Address]],
    ) -> None:
        self._reactor = reactor
        self._file = None if path is None else PolicyFile(path)
        self._members = members
        self._known: Mapping[str, IPv4Address] = {}
        self._evaluation: Evaluation | None = None
        self._encoded: dict[Part, Sequence[bytes]] = {}
        self._online: dict[IPv4Address, Presence] = {}
        self._sent: dict[IPv4Address, Sequence[bytes]] = {}
        self._look: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to look at the file."""
        if self._file is not None:
            self._look = self._reactor.callLater(LOOK, self._look_again)

    def stop(self) -> None:
        """End it."""
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _look_again(self) -> None:
        self.refresh()
        self.start()

    def refresh(self) -> None:
        """See whether the file or the members have changed, and tell whom it concerns."""
        if self._file is None:
            return
        changed = self._file.look() or self._evaluation is None
        members = self._members()
        if not changed and members == self._known:
            return
        self._known = members
        self._evaluation = Evaluation(self._file.policy, members)
        self._encoded.clear()
        for presence in self._online.values():
            self._tell(presence, changed_only=True)

    # IAttendant

    def arrived(self, presence: Presence) -> None:
        member = presence.member
        if self._known.get(member.name) != member.address:
            self.refresh()
        self._online[member.address] = presence
        self._tell(presence)

    def told(self, presence: Presence, message: signal.Signal) -> bool:
        if not isinstance(message, Rename) or self._file is None:
            return False
        if message.name not in self._file.policy.names - {presence.member.name}:
            return False
        # Rules go by name: it would take what they give to another.
        refusal = (
            f"the access rules speak of {message.name}, so that only the coordinator's owner can "
            "give that name, with 'tunnelmesh rename' there"
        )
        if not presence.link.paused:  # one that reads no answers gets none
            presence.send(Renamed(presence.member.name, refusal))
        return True

    def left(self, presence: Presence) -> None:
        self._online.pop(presence.member.address, None)
        self._sent.pop(presence.member.address, None)

    def _tell(self, presence: Presence, changed_only: bool = False) -> None:
        """Send a member its rules, by every link that it has: it may listen to the last one only,
        and the coordinator may not know yet that the others are dead."""
        address = presence.member.address
        rules = self._rules(address)
        if changed_only and self._sent.get(address) == rules:
            return
        self._sent[address] = rules
        for line in presence.lines:
            line.link.send(b"".join(rules))

    def _rules(self, address: IPv4Address) -> Sequence[bytes]:
        if self._evaluation is None:
            return UNRESTRICTED
        part = self._evaluation.part(address)
        if part not in self._encoded:
            self._encoded[part] = [*map(signal.encode, split(self._evaluation.rules(part)))]
        return self._encoded[part]

    # For people

    def status(self) -> dict[str, Any] | None:
        """Whether there are rules, and whether the file is in order."""
        if self._file is None:
            return None
        return {"file": str(self._file.path), "mistake": self._file.mistake or None}

    def show(self, query: Mapping[str, str]) -> dict[str, Any]:
        """What ``tunnelmesh policy`` shows, as of now.

        :raises PolicyError: if there are no rules.
        """
        if self._file is None:
            raise PolicyError(
                "there are no access rules, and everybody reaches everybody: to have some, start "
                "the coordinator with --policy=FILE"
            )
        self.refresh()
        policy = self._file.policy
        return {
            "file": str(self._file.path),
            "mistake": self._file.mistake or None,
            "doubts": policy.doubts(self._known),
            "groups": {name: list(members) for name, members in policy.groups.items()},
            "allow": [
                {
                    "from": list(entry.sources),
                    "to": list(entry.targets),
                    "ports": list(entry.ports),
                }
                for entry in policy.allow
            ],
        }
