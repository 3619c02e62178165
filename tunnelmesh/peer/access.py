"""The access rules as the coordinator last told them: kept, and turned into guards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from twisted.logger import Logger

from tunnelmesh.errors import ConfigError, DecodeError
from tunnelmesh.peer.membership import write_whole
from tunnelmesh.peer.pair.guard import Guard
from tunnelmesh.policy.evaluation import Reaches
from tunnelmesh.policy.parts import Assembly, join, split
from tunnelmesh.policy.ports import EVERYTHING, Reach
from tunnelmesh.wire import schema
from tunnelmesh.wire.administration import Rules

FILE = "rules.json"

ALL = Reach.of([EVERYTHING])
"""What is allowed where nothing is restricted."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the file holds: the rules, in parts as they come in signals."""

    parts: tuple[Rules, ...]


class Access:
    """What the rules allow, to others and to this machine.

    They outlive the process, so that a machine which restarts without its coordinator is not open.
    Before any were ever told, nothing is restricted.

    :ivar restricted: whether anything is forbidden.
    :raises ConfigError: if the file that keeps them cannot be read, or is damaged.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE
        self._assembly = Assembly()
        self._use(self._load())

    def _use(self, rules: Rules) -> None:
        self._rules = rules
        self.restricted = rules.restricted
        self._inbound = Reaches(rules.inbound)
        self._outbound = Reaches(rules.outbound)

    def received(self, message: Rules) -> bool:
        """The coordinator tells rules, or a part of them.

        :returns: whether others are in force now.
        """
        rules = self._assembly.received(message)
        if rules is None or rules == self._rules:
            return False
        _log.info("new access rules: {what}", what="restricted" if rules.restricted else "none")
        self._use(rules)
        try:
            self._save()
        except ConfigError as error:
            _log.warn("the access rules are not remembered: {error}", error=error)
        return True

    def inbound(self, address: IPv4Address) -> Reach:
        """What a member may reach of this machine."""
        return self._inbound[address] if self.restricted else ALL

    def outbound(self, address: IPv4Address) -> Reach:
        """What this machine may reach of a member, by the coordinator's word."""
        return self._outbound[address] if self.restricted else ALL

    def guard(self, address: IPv4Address, before: Guard | None = None) -> Guard | None:
        """What is to look at a member's packets, if anything.

        :param before: what did so far; it goes on, with what it remembers.
        """
        reach = self.inbound(address)
        if reach.everything:
            return None
        if before is None:
            return Guard(reach)
        before.reach = reach
        return before

    def _load(self) -> Rules:
        try:
            return join(schema.load(_Kept, schema.parse(self._path.read_bytes())).parts)
        except FileNotFoundError:
            return Rules()
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}") from None
        except DecodeError as error:
            raise ConfigError(
                f"{self._path} is damaged ({error}); delete it, and this machine is open to all "
                "members until its coordinator tells the access rules again"
            ) from None

    def _save(self) -> None:
        kept = _Kept(tuple(split(self._rules)))
        write_whole(self._path, json.dumps(schema.dump(kept)) + "\n")
