"""One attempt to punch through: both peers probe each other's candidates at the same moment.

The first probes may die at the other NAT; what matters is that each side's own NAT has seen them
leave. A ping that comes in from an endpoint nobody named (a symmetric NAT's new mapping, RFC 8445's
peer-reflexive candidate) is probed back at once, which is what opens cone to symmetric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tunnelmesh.wire.endpoint import Endpoint

ROUNDS = (0.0, 0.02, 0.06, 0.14, 0.3, 0.6, 1.0, 1.5, 2.2)
"""Seconds after the start at which all candidates are probed: dense first, for the two sides start
within milliseconds of each other; then over the longest round trips that people put up with."""

ANSWER_WAIT = 1.0
"""Seconds after the last round during which answers still count."""

MAX_CANDIDATES = 12
"""Endpoints probed at most: a host's addresses, and what it shows while being punched. With the
rounds this caps an attempt at about a hundred small packets."""


class Punch:
    """An attempt, from its start until it succeeds or its time is over.

    :param candidates: where the remote peer may be, likeliest first.
    :param start: when to begin.
    :param tokens: gives a number never given before.

    :ivar deadline: when to call :meth:`expire`, or None when it is over.
    :ivar probes: sent so far.
    """

    def __init__(
        self, candidates: Sequence[Endpoint], start: float, tokens: Callable[[], int]
    ) -> None:
        self.deadline: float | None = start
        self.probes = 0
        self._start = start
        self._tokens = tokens
        self._candidates = list(dict.fromkeys(candidates))[:MAX_CANDIDATES]
        self._round = 0
        self._sent: dict[int, float] = {}

    def expire(self, now: float) -> list[tuple[int, Endpoint]]:
        """Time has come.

        :returns: pings to send: (token, endpoint).
        """
        if self.deadline is None or now < self.deadline:
            return []
        if self._round >= len(ROUNDS):
            self.deadline = None
            return []
        while self._round < len(ROUNDS) and now >= self._start + ROUNDS[self._round]:
            self._round += 1
        last = self._round >= len(ROUNDS)
        self.deadline = now + ANSWER_WAIT if last else self._start + ROUNDS[self._round]
        return [self._ping(endpoint, now) for endpoint in self._candidates]

    def seen(self, endpoint: Endpoint, now: float) -> list[tuple[int, Endpoint]]:
        """An authentic ping came from *endpoint*: check it at once if it is a new one."""
        if endpoint in self._candidates or len(self._candidates) >= MAX_CANDIDATES:
            return []
        self._candidates.insert(0, endpoint)
        return [self._ping(endpoint, now)]

    def ponged(self, token: int, now: float) -> float | None:
        """A pong came in.

        :returns: its round trip in seconds, or None if its ping was not of this attempt.
        """
        sent_at = self._sent.pop(token, None)
        return None if sent_at is None else now - sent_at

    def stop(self) -> None:
        """A path is proven; more probes would only burden the routers."""
        self.deadline = None

    def _ping(self, endpoint: Endpoint, now: float) -> tuple[int, Endpoint]:
        token = self._tokens()
        self._sent[token] = now
        self.probes += 1
        return token, endpoint
