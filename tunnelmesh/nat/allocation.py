"""How a NAT chooses the external ports of new mappings (RFC 4787 §4.2).

Several short-lived sockets ask the same STUN server, one after the other; from what they are told,
in the order in which they asked, follows whether the next port can be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from math import gcd
from typing import NamedTuple

from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import Allocation

LEAST = 5
"""Samples that a verdict takes: random ports look like a sequence by these once in 10^8 times."""

FAR = 256
"""Ports between two samples of a sequence at most: 32 steps of 8. Two random ports are in order and
as near as that once in 256 times."""

LOWEST, HIGHEST = 1024, 65535
"""The ports of a NAT that chooses from all (RFC 4787 REQ-3)."""

BLOCK_PART = 4
"""Samples that lie within this part of all ports are from a block. Eight random ones do so once in
2,600 times (n·s^(n-1) - (n-1)·s^n for n samples in a part s), twelve once in 350,000."""

MARGIN = 2
"""The block reaches further than its samples on each side, by so many times the mean distance
between two of them: past the outermost sample's expected place, (n+1) / (n-1) of the span."""


class Choice(StrEnum):
    """The way in which ports are chosen."""

    ONE = "endpoint-independent"
    """One for all destinations of a socket; what the next socket gets was not looked at."""

    PRESERVED = "port-preserving"
    SEQUENTIAL = "sequential"
    BLOCK = "block"
    RANDOM = "random"
    UNKNOWN = "unknown"


class Sample(NamedTuple):
    """One mapping that was made.

    :ivar at: when, in seconds.
    :ivar local: the socket's own port.
    """

    at: float
    local: int
    external: Endpoint


_IN_WORDS: dict[str, str] = {
    Choice.ONE: "one for all destinations",
    Choice.PRESERVED: "the machine's own where it is free",
    Choice.SEQUENTIAL: "in sequence, in steps of {step}",
    Choice.BLOCK: "random ones from about {low} to {high}",
    Choice.RANDOM: "random ones",
}


def in_words(chosen: Allocation) -> str:
    """How ports are chosen, for people."""
    words = _IN_WORDS.get(chosen.kind, "not known how")
    told = words.format(step=chosen.step, low=chosen.low, high=chosen.high)
    return f"{told}, of {chosen.hosts} addresses" if chosen.hosts > 1 else told


def allocation(samples: Sequence[Sample], others: Sequence[Endpoint] = ()) -> Allocation:
    """Find out how ports are chosen.

    :param samples: mappings of different sockets towards one destination, in the order made.
    :param others: further external endpoints that the same NAT gave.
    """
    external = [sample.external for sample in samples]
    hosts = len({endpoint.host for endpoint in (*external, *others)})
    if len(samples) < LEAST:
        return Allocation(Choice.UNKNOWN, hosts)
    ports = [endpoint.port for endpoint in external]
    low, high = _range([*ports, *(endpoint.port for endpoint in others)])
    kept = sum(sample.local == sample.external.port for sample in samples)
    if kept >= len(samples) - 1:
        return Allocation(Choice.PRESERVED, hosts, ports[-1], low=low, high=high)
    steps = _sequence(ports)
    if steps:
        step = gcd(*steps) * (1 if steps[0] > 0 else -1)
        passed = sum(steps) // step - len(steps)
        span = samples[-1].at - samples[0].at
        # One more than were seen: none in a tenth of a second may still be ten in a second.
        rate = (passed + 1) / span if span > 0 else 0.0
        return Allocation(Choice.SEQUENTIAL, hosts, ports[-1], step, rate=rate)
    kind = Choice.RANDOM if (low, high) == (LOWEST, HIGHEST) else Choice.BLOCK
    return Allocation(kind, hosts, ports[-1], low=low, high=high)


def _sequence(ports: Sequence[int]) -> list[int]:
    """The steps from port to port, if they are those of a sequence; else none.

    One may be odd: the sequence began again, or two packets overtook each other. Once at least
    nobody else comes between two sockets that ask at the same time, and the step is seen as it is;
    random ports of a small block, which may be in order by chance, hardly ever are that regular.
    """
    steps = [after - before for before, after in pairwise(ports)]
    for sign in (1, -1):
        regular = [step for step in steps if 0 < step * sign <= FAR]
        if len(regular) >= len(steps) - 1 and min(map(abs, regular)) == gcd(*regular):
            return regular
    return []


def _range(ports: Sequence[int]) -> tuple[int, int]:
    """The ports from which these were drawn: a block, or all."""
    low, high = min(ports), max(ports)
    span = high - low + 1
    if span * BLOCK_PART > HIGHEST - LOWEST + 1:
        return LOWEST, HIGHEST
    margin = MARGIN * span // (len(ports) - 1)
    return max(low - margin, 1), min(high + margin, HIGHEST)
