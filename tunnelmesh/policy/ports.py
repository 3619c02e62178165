"""Ports that a rule names, and what one member may reach of another."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass

EVERYTHING = "*"
ICMP = "icmp"

HIGHEST = 65535
"""The highest port."""

_PORTS = re.compile(r"(?:(tcp|udp)/)?(?:(\*)|([0-9]{1,5})(?:-([0-9]{1,5}))?)\Z")


def read(value: object) -> tuple[str, ...]:
    """Read what somebody wrote as ports: ``22``, ``tcp/22``, ``udp/5000-5100``, ``tcp/*``,
    ``icmp`` or ``*``.

    :returns: the same, as rules on the wire have it: each with its protocol.
    :raises ValueError: if it is none of these.
    """
    text = str(value) if type(value) is int else value
    if not isinstance(text, str):
        raise ValueError
    text = text.lower()
    if text in (EVERYTHING, ICMP):
        return (text,)
    protocol, low, high = _span(text)
    ports = "*" if (low, high) == (0, HIGHEST) else f"{low}" if low == high else f"{low}-{high}"
    return tuple(f"{each}/{ports}" for each in ([protocol] if protocol else ["tcp", "udp"]))


def _span(word: str) -> tuple[str | None, int, int]:
    """The protocol, if it is said, the first port and the last.

    :raises ValueError: if the word is not of this form.
    """
    found = _PORTS.match(word)
    if found is None:
        raise ValueError
    protocol, star, first, last = found.groups()
    if star:
        return protocol, 0, HIGHEST
    low, high = int(first), int(last or first)
    if not 0 < low <= high <= HIGHEST:
        raise ValueError
    return protocol, low, high


@dataclass(frozen=True, slots=True)
class Reach:
    """What one member may reach of another.

    :ivar words: as the rules say it.
    :ivar everything: whether nothing is forbidden; *icmp*: whether echo requests are allowed.
    :ivar tcp: the bounds of allowed ranges, in rising order: the first port in, the first out, and
        so on; likewise *udp*.
    """

    words: tuple[str, ...]
    everything: bool
    icmp: bool
    tcp: tuple[int, ...]
    udp: tuple[int, ...]

    @classmethod
    def of(cls, words: Iterable[str]) -> Reach:
        """What these words allow. One that is not known, a newer version's, allows nothing."""
        known = tuple(dict.fromkeys(words))
        spans: dict[str, list[tuple[int, int]]] = {"tcp": [], "udp": []}
        for word in known:
            try:
                protocol, low, high = _span(word)
            except ValueError:
                continue
            if protocol is not None:
                spans[protocol].append((low, high + 1))
        return cls(
            known,
            EVERYTHING in known,
            ICMP in known or EVERYTHING in known,
            _bounds(spans["tcp"]),
            _bounds(spans["udp"]),
        )

    def takes_tcp(self, port: int) -> bool:
        """Whether a TCP connection to that port may be opened."""
        return self.everything or bisect(self.tcp, port) & 1 == 1

    def takes_udp(self, port: int) -> bool:
        """Whether a datagram may be sent to that port unasked."""
        return self.everything or bisect(self.udp, port) & 1 == 1

    def __str__(self) -> str:
        if self.everything:
            return "everything"
        return ", ".join(self.words) or "nothing"


def _bounds(spans: list[tuple[int, int]]) -> tuple[int, ...]:
    bounds: list[int] = []
    for low, end in sorted(spans):
        if bounds and low <= bounds[-1]:
            bounds[-1] = max(bounds[-1], end)
        else:
            bounds += [low, end]
    return tuple(bounds)
