"""Where a sequential NAT's next mappings will be, and how many there must be to meet one.

The last port is known, and the step; not known is how many mappings others have made since, and how
many they make while the packets are under way. That number is Poisson distributed about *rate*
times *age*, so that a window of that mean, three deviations and a few to spare misses it once in
some hundred times.

The side that has the sequence opens a socket, which gets the next port. The other side aims at
every port of the window, if its own mapping does not depend on where it sends. If it does, both
sides have sequences, and both must hit: each opens as many sockets as its own window is wide, and
all of them aim at the *last* port of the other's window. However many mappings, fewer than that,
others have made, one socket of each side has the very port at which the other side aims; those two
meet.
"""

from __future__ import annotations

from math import ceil, sqrt

from tunnelmesh.wire.signal import Allocation

SPARE = 4
"""Ports in a window beyond what others may use: those that the NAT skips since they are taken."""

DEVIATIONS = 3
"""Standard deviations of the number of others' mappings that a window allows for."""

WIDEST = 48
"""Ports in a window at most: as many packets, repeated a few times, are a burden that no router
notices. A NAT whose other users need more between a sample and the meeting is not predictable."""

LONGEST = 60.0
"""Seconds of age beyond which a stranger's number is not calculated with."""


def window(sequence: Allocation, age: float) -> tuple[int, ...]:
    """The ports that the next mapping is among, the next one first.

    :param sequence: as it was *age* seconds before the mapping is made.
    :returns: none where that is not a sequence that has more ports.
    """
    mean = min(max(sequence.rate, 0.0) * min(max(age, 0.0), LONGEST), float(WIDEST))
    width = min(ceil(mean + DEVIATIONS * sqrt(mean)) + SPARE, WIDEST)
    ports = (sequence.port + number * sequence.step for number in range(1, width + 1))
    return tuple(port for port in ports if sequence.step and 0 < port < 65536)
