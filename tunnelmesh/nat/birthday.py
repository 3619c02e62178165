"""The birthday way through a random symmetric NAT: many sockets on its side, many probes from the
other.

With *s* sockets among *p* ports, a probe to a random port that was not tried before meets one with
the chance s / p, and *n* probes miss all of them with (1 - s/p)^n. For all 64,512 ports:

=======  ========  ========  ========  ==========
sockets  50 %      90 %      99 %      99.9 %
=======  ========  ========  ========  ==========
84       530       1,744     3,440     5,090
256      175       577       1,148     1,715
=======  ========  ========  ========  ==========

So 256 sockets and 2,000 probes miss once in 2,800 times. Two such NATs against each other would
take 172,000 probes of each side for 99.9 % (P = 1 - exp(-n²/p²): both ports must be guessed by one
packet): minutes, and every table on the way full. That is not tried.
"""

from __future__ import annotations

from random import Random

MOST_SOCKETS = 256
"""Sockets on the symmetric side: as many entries in its NAT's table as some web pages cause."""

LEAST_SOCKETS = 16

SOCKET_SHARE = 32
"""One socket for so many ports of a known block: 99 % after 145 probes, whatever its size. A block
of a carrier's may have 512 ports, which all of the customer's machines share."""

MOST_PROBES = 2000
"""Packets that one side sends in one hard punch, all kinds taken together."""


def sockets(low: int, high: int) -> int:
    """How many to open behind a NAT that chooses ports from *low* to *high*, inclusive."""
    return min(max((high - low + 1) // SOCKET_SHARE, LEAST_SOCKETS), MOST_SOCKETS)


def draw(low: int, high: int, random: Random) -> list[int]:
    """Ports to probe: different ones, in random order, at most :data:`MOST_PROBES`."""
    ports = range(max(low, 1), min(high, 65535) + 1)
    return random.sample(ports, min(len(ports), MOST_PROBES))
