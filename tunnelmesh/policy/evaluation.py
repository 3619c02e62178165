"""What a policy means for each member."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from tunnelmesh.policy.document import EVERYBODY, Policy
from tunnelmesh.policy.ports import Reach
from tunnelmesh.wire.administration import Rule, Rules

Part = tuple[tuple[int, ...], tuple[int, ...]]
"""Which entries of a policy a member is a target of, and which a source of."""


@dataclass(frozen=True, slots=True)
class _Ends:
    """One side of an entry."""

    everybody: bool
    addresses: frozenset[IPv4Address]

    def __contains__(self, address: IPv4Address) -> bool:
        return self.everybody or address in self.addresses

    def rule(self, ports: tuple[str, ...]) -> Rule:
        """What is allowed towards, or from, all of them."""
        if self.everybody:
            return Rule((), ports, everybody=True)
        return Rule(tuple(sorted(self.addresses)), ports)


class Evaluation:
    """A policy, and the members that there are.

    Members that play the same part in it have the same rules: thousands of members, a handful of
    different rules.

    :param members: their addresses, by name.
    """

    def __init__(self, policy: Policy, members: Mapping[str, IPv4Address]) -> None:
        def ends(words: Iterable[str]) -> _Ends:
            names = [name for word in words for name in policy.members_of(word)]
            addresses = frozenset(members[name] for name in names if name in members)
            return _Ends(EVERYBODY in words, addresses)

        self._entries = [
            (ends(entry.sources), ends(entry.targets), entry.ports) for entry in policy.allow
        ]

    def part(self, address: IPv4Address) -> Part:
        """The part that a member plays."""
        return (
            tuple(n for n, (_, targets, _) in enumerate(self._entries) if address in targets),
            tuple(n for n, (sources, _, _) in enumerate(self._entries) if address in sources),
        )

    def rules(self, part: Part) -> Rules:
        """The rules of all who play a part."""
        inbound, outbound = part
        return Rules(
            restricted=True,
            inbound=self._rules(inbound, lambda n: self._entries[n][0]),
            outbound=self._rules(outbound, lambda n: self._entries[n][1]),
        )

    def _rules(self, numbers: Iterable[int], other: Callable[[int], _Ends]) -> tuple[Rule, ...]:
        rules = (other(number).rule(self._entries[number][2]) for number in numbers)
        return tuple(rule for rule in rules if rule.everybody or rule.peers)


class Reaches:
    """What some rules allow, by the other end's address: :class:`.Reach`."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._everybody: list[tuple[str, ...]] = []
        self._some: dict[IPv4Address, list[tuple[str, ...]]] = {}
        self._known: dict[tuple[tuple[str, ...], ...], Reach] = {}
        for rule in rules:
            if rule.everybody:
                self._everybody.append(rule.ports)
            for peer in set(rule.peers):
                self._some.setdefault(peer, []).append(rule.ports)

    def __getitem__(self, address: IPv4Address) -> Reach:
        """What is allowed to, or from, a member. The same object for all with the same rules."""
        lists = (*self._everybody, *self._some.get(address, ()))
        if lists not in self._known:
            self._known[lists] = Reach.of(word for words in lists for word in words)
        return self._known[lists]
