"""Rules in pieces that fit a signal, and whole again.

A group may have thousands of members; a signal has at most
:data:`~tunnelmesh.wire.signal.MAX_SIGNAL` bytes, and a list in it
:data:`~tunnelmesh.wire.schema.MAX_ITEMS` items.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import blake2s
from itertools import chain

from tunnelmesh.wire.administration import Rule, Rules

PART_SIZE = 1500
"""Addresses, ports and rules in one part: each takes less than 40 bytes."""

PEERS = 256
"""Addresses in one rule of a part."""

MOST_PARTS = 256
"""Of one whole: far more than for the largest mesh, and few enough to be kept."""


def split(rules: Rules) -> list[Rules]:
    """The parts of some rules, in order; themselves, if they are small."""
    pieces = [
        (inbound, piece)
        for inbound, some in ((True, rules.inbound), (False, rules.outbound))
        for piece in chain.from_iterable(map(_pieces, some))
    ]
    parts: list[list[tuple[bool, Rule]]] = [[]]
    room = PART_SIZE
    for inbound, rule in pieces:
        size = 1 + len(rule.peers) + len(rule.ports)
        if (size > room or len(parts[-1]) == PEERS) and parts[-1]:
            parts.append([])
            room = PART_SIZE
        parts[-1].append((inbound, rule))
        room -= size
    digest = blake2s(repr(rules).encode(), digest_size=6).digest()
    return [
        Rules(
            restricted=rules.restricted,
            inbound=tuple(rule for inbound, rule in part if inbound),
            outbound=tuple(rule for inbound, rule in part if not inbound),
            part=number,
            parts=len(parts),
            whole=int.from_bytes(digest, "big"),
        )
        for number, part in enumerate(parts)
    ]


def _pieces(rule: Rule) -> Iterator[Rule]:
    if rule.everybody:
        yield rule
    for at in range(0, len(rule.peers), PEERS):
        yield replace(rule, peers=rule.peers[at : at + PEERS], everybody=False)


class Assembly:
    """Puts parts together, in whatever order and however often they come."""

    def __init__(self) -> None:
        self._whole = (0, 0)
        self._parts: dict[int, Rules] = {}

    def received(self, part: Rules) -> Rules | None:
        """Take a part.

        :returns: the whole, if no part of it is missing any more.
        """
        if not 0 <= part.part < part.parts <= MOST_PARTS:
            return None
        if self._whole != (part.whole, part.parts):
            self._whole = (part.whole, part.parts)
            self._parts.clear()
        self._parts[part.part] = part
        if len(self._parts) < part.parts:
            return None
        parts = [self._parts[number] for number in range(part.parts)]
        self._parts.clear()
        return join(parts)


def join(parts: Iterable[Rules]) -> Rules:
    """The whole. It is restricted if any part is."""
    all_parts = list(parts)
    return Rules(
        restricted=any(part.restricted for part in all_parts),
        inbound=tuple(chain.from_iterable(part.inbound for part in all_parts)),
        outbound=tuple(chain.from_iterable(part.outbound for part in all_parts)),
    )
