"""How a simulated NAT chooses external ports (RFC 4787 §4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tunnelmesh.lab.sim.behaviour import Ports

#: External ports given out (RFC 4787 REQ-3a: a NAT does not map 1024 and above to below).
PORTS = range(1024, 65536)


class PortChoice:
    """Chooses ports for new mappings.

    :param ports: in which way.
    :param step: from one port of a sequence to the next; may be negative.
    :param block: ports that a customer is given, where they are not all.
    :param others: mappings a second that others make, which use up ports of a sequence.
    """

    def __init__(
        self, ports: Ports, step: int, block: int | None, others: float, random: Random
    ) -> None:
        self._way = ports
        self._step = step
        self._others = others
        self._random = random
        self._range = PORTS
        if block is not None:
            first = random.randrange(PORTS.start, PORTS.stop - block)
            self._range = range(first, first + block)
        self._next = random.choice(self._range)
        self._other_at: float | None = None

    def tries(self, inner: int, now: float) -> Iterator[int]:
        """The ports to take, if they are free, in this order.

        :param inner: the socket's own port.
        """
        if self._way == "preserve":
            yield inner
        self._let_others_take(now)
        for _ in self._range:
            if self._way == "sequential":
                yield self._advance()
            else:
                yield self._random.choice(self._range)

    def _advance(self) -> int:
        port = self._next
        self._next += self._step
        if self._next not in self._range:
            self._next = self._range[0] if self._step > 0 else self._range[-1]
        return port

    def _let_others_take(self, now: float) -> None:
        """The others' mappings are a Poisson process."""
        if not self._others:
            return
        if self._other_at is None:
            self._other_at = now + self._random.expovariate(self._others)
        while self._other_at <= now:
            self._other_at += self._random.expovariate(self._others)
            self._advance()
