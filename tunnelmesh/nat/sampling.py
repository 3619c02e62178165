"""Look at the ports that a NAT chooses: several sockets ask one STUN server, in two bursts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tunnelmesh.errors import DecodeError
from tunnelmesh.nat.query import SILENCE, Query, Send
from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint

BURST = 4
"""Sockets that ask at the same time: what is between their ports is the step."""

BURSTS = (0.0, 0.1)
"""Seconds after which each burst asks. What is between them beside the steps, others made: a tenth
of a second tells ten a second from none, and delays a meeting no more than a round trip does."""

SOCKETS = BURST * len(BURSTS)
"""Sockets in all: small enough for a router's table, enough for a verdict when some get no answer.
"""


@dataclass(frozen=True)
class Ask:
    """Send from the socket with that number, opened when it first sends, closed with the rest."""

    socket: int
    send: Send


class Answer(NamedTuple):
    """What one socket was told.

    :ivar at: when it asked.
    """

    socket: int
    at: float
    external: Endpoint


@dataclass(frozen=True)
class Sampled:
    """All answers there are, in the order in which was asked."""

    answers: tuple[Answer, ...]


class Sampling:
    """One look. It is over when it puts out :class:`Sampled`.

    :param server: a STUN server that is known to answer.
    :param entropy: gives that many random bytes.
    """

    def __init__(self, server: Endpoint, entropy: Callable[[int], bytes], now: float) -> None:
        self._server = server
        self._entropy = entropy
        self._started = now
        self._asked: list[tuple[float, Query]] = []
        self._answers: dict[int, Answer] = {}
        self._finished = False

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`expire`; the first time at once."""
        if self._finished:
            return None
        deadlines = [query.deadline for _, query in self._asked]
        bursts = len(self._asked) // BURST
        if bursts < len(BURSTS):
            deadlines.append(self._started + BURSTS[bursts])
        return min((each for each in deadlines if each is not None), default=None)

    def expire(self, now: float) -> list[Ask | Sampled]:
        """Time has come: ask, or repeat what was not answered, or conclude."""
        bursts = len(self._asked) // BURST
        if bursts < len(BURSTS) and now >= self._started + BURSTS[bursts]:
            for _ in range(BURST):
                query = Query(self._server, self._entropy, now, patience=SILENCE)
                self._asked.append((now, query))
        asks: list[Ask | Sampled] = [
            Ask(socket, send)
            for socket, (_, query) in enumerate(self._asked)
            for send in query.expire(now)
        ]
        return asks + self._conclude()

    def receive(self, socket: int, datagram: bytes, source: Endpoint) -> list[Ask | Sampled]:
        """A datagram arrived at one of the sockets; one that is not its answer is ignored."""
        if self._finished or socket >= len(self._asked):
            return []
        asked_at, query = self._asked[socket]
        try:
            message = stun.decode(datagram)
            mapped = message.mapped
        except DecodeError:
            return []
        if not query.receive(message, source):
            return []
        if query.honoured and mapped is not None and mapped.port:
            self._answers[socket] = Answer(socket, asked_at, mapped)
        return self._conclude()

    def _conclude(self) -> list[Ask | Sampled]:
        if self._finished or self.deadline is not None:
            return []
        self._finished = True
        return [Sampled(tuple(self._answers[socket] for socket in sorted(self._answers)))]
