"""What happens to packets on a wire."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Link:
    """The properties of a line, the same both ways. Change them at any time.

    :ivar latency: seconds from one end to the other.
    :ivar jitter: up to this many more seconds, evenly spread; it lets packets overtake each other.
    :ivar loss: the part of the packets that is lost, 0 to 1.
    :ivar reorder: the part that is held back for three more latencies.
    :ivar duplicate: the part that arrives twice.
    :ivar rate: bytes a second, or None for any number.
    :ivar queue: seconds' worth of packets that wait for a line with a rate; more are dropped.
    :ivar mtu: the largest IP packet, in bytes; larger ones are lost without a word.
    """

    latency: float = 0.010
    jitter: float = 0.0
    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    rate: float | None = None
    queue: float = 0.2
    mtu: int = 65_535
