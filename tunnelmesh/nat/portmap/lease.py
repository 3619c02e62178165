"""Get a port of the router's, keep it, and give it back."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from random import Random

from tunnelmesh.nat.portmap.speaker import (
    LIFETIME,
    Failed,
    Fetch,
    Granted,
    Output,
    Released,
    Speaker,
)
from tunnelmesh.nat.query import Send
from tunnelmesh.wire.endpoint import Endpoint

HEAD_START = 0.3
"""Seconds that a language waits for an answer in a better one. Only one is used to map: a router
that speaks several keeps one list of mappings for them all."""

SHORTEST = 60.0
"""Seconds that a mapping must live to be of use (RFC 6887 §15 has routers give two minutes)."""

RENEW_LEAST = 15.0
"""Seconds between two attempts to renew: no lifetime that a router states makes us ask oftener."""

CHECK_LEAST = 5.0
"""Seconds between two looks whether the mapping is still there."""

REST_FIRST = 120.0
REST_NEVER = 900.0
REST_LONGEST = 3600.0
"""Seconds until a router that maps nothing any more is asked again, and one that never has, both
doubling: somebody may have switched it on. Another router is asked at once; and each round costs as
many packets as an idle path does in five minutes."""

JITTER = 0.1
"""Each rest varies by this part."""


@dataclass(frozen=True, slots=True)
class PortMapping:
    """What the router forwards to this machine.

    :ivar protocol: the language in which it was asked.
    :ivar until: when it ends unless it is renewed; infinite if only a release ends it.
    """

    external: Endpoint
    protocol: str
    until: float


class _State(Enum):
    SEARCHING = auto()
    HOLDING = auto()
    RESTING = auto()
    RELEASING = auto()
    OVER = auto()


class Lease:
    """A port of one router.

    The router is asked in all languages at the same time whether it speaks them, which changes
    nothing there; then it is asked to map in the best that it speaks.

    :param speakers: who asks, the best language first.

    :ivar mapping: what is forwarded now, or None.
    """

    def __init__(self, speakers: Sequence[Speaker], random: Random) -> None:
        self.mapping: PortMapping | None = None
        self._speakers = speakers
        self._random = random
        self._state = _State.OVER
        self._asked: Speaker | None = None
        self._refused: set[Speaker] = set()
        self._wanted: Endpoint | None = None
        self._patience = 0.0
        self._next: float | None = None
        self._asked_at = 0.0
        self._rest = REST_NEVER
        self._retry_after = 0.0

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`expire`."""
        deadlines = [speaker.deadline for speaker in self._speakers]
        if self._state is not _State.OVER:
            deadlines.append(self._next)
        return min((at for at in deadlines if at is not None), default=None)

    @property
    def is_over(self) -> bool:
        """Whether, after :meth:`stop`, there is nothing more to wait for."""
        return self._state is _State.OVER

    @property
    def is_settled(self) -> bool:
        """Whether it is known what the router does."""
        return self._state is not _State.SEARCHING

    @property
    def troubles(self) -> dict[str, str]:
        """By language, why the router does not map, as far as that is known."""
        return {each.name: each.trouble for each in self._speakers if each.trouble}

    def start(self, now: float) -> list[Send | Fetch]:
        """Begin."""
        return self._search(now)

    def received(self, datagram: bytes, source: Endpoint, now: float) -> list[Send | Fetch]:
        """A datagram arrived."""
        outputs: list[Send | Fetch] = []
        for speaker in self._speakers:
            outputs += self._take(speaker, speaker.received(datagram, source, now), now)
        return outputs + self._go_on(now)

    def fetched(self, number: int, document: bytes | None, now: float) -> list[Send | Fetch]:
        """The answer to a :class:`~tunnelmesh.nat.portmap.speaker.Fetch`; None if none came."""
        outputs: list[Send | Fetch] = []
        for speaker in self._speakers:
            outputs += self._take(speaker, speaker.fetched(number, document), now)
        return outputs + self._go_on(now)

    def expire(self, now: float) -> list[Send | Fetch]:
        """Time has come."""
        outputs: list[Send | Fetch] = []
        for speaker in self._speakers:
            outputs += self._take(speaker, speaker.expire(now), now)
        if self._next is not None and now >= self._next:
            self._next = None
            if self._state is _State.HOLDING:
                outputs += self._renew(now)
            elif self._state is _State.RESTING:
                outputs += self._search(now)
        return outputs + self._go_on(now)

    def check(self, now: float) -> list[Send | Fetch]:
        """Something happened that a restart of the router would explain: see what is left."""
        if self._state is not _State.HOLDING:
            return []
        soonest = self._asked_at + CHECK_LEAST
        if now >= soonest:
            return self._renew(now)
        if self._next is not None:
            self._next = min(self._next, soonest)
        return []

    def look(self, now: float) -> list[Send | Fetch]:
        """Somebody wants to know what the router does now."""
        return self._search(now) if self._state is _State.RESTING else self.check(now)

    def stop(self, now: float) -> list[Send | Fetch]:
        """Give the port back."""
        asked = self._asked
        self.mapping = None
        self._next = None
        if asked is None:
            self._state = _State.OVER
            return []
        self._state = _State.RELEASING
        return self._take(asked, asked.release(now), now)

    def _search(self, now: float) -> list[Send | Fetch]:
        self._state = _State.SEARCHING
        self._asked = None
        self._refused.clear()
        self._retry_after = 0.0
        self._asked_at = now
        self._patience = self._next = now + HEAD_START
        outputs: list[Send | Fetch] = []
        for speaker in self._speakers:
            outputs += self._take(speaker, speaker.discover(now), now)
        return outputs

    def _go_on(self, now: float) -> list[Send | Fetch]:
        """While searching: ask the best that is there, once it is clear which that is."""
        if self._state is not _State.SEARCHING or self._asked is not None:
            return []
        left = [s for s in self._speakers if s.spoken is not False and s not in self._refused]
        for speaker in left:
            if speaker.spoken:
                self._asked = speaker
                return self._take(speaker, speaker.request(self._wanted, now), now)
            if now < self._patience:
                return []
        if not left:
            rest = min(max(self._rest, self._retry_after), REST_LONGEST)
            self._state = _State.RESTING
            self._next = now + rest * (1 + JITTER * self._random.uniform(-1, 1))
            self._rest = min(self._rest * 2, REST_LONGEST)
        return []

    def _renew(self, now: float) -> list[Send | Fetch]:
        assert self._asked is not None
        if self._asked.busy:
            return []
        self._asked_at = now
        return self._take(self._asked, self._asked.request(self._wanted, now), now)

    def _take(self, speaker: Speaker, outputs: Sequence[Output], now: float) -> list[Send | Fetch]:
        """Do what an output means; return what is for the world outside."""
        outward: list[Send | Fetch] = []
        for output in outputs:
            match output:
                case Send() | Fetch():
                    outward.append(output)
                case Released():
                    self._state = _State.OVER
                case Granted():
                    outward += self._granted(speaker, output, now)
                case Failed():
                    outward += self._failed(speaker, output, now)
                case _:  # Restarted
                    if speaker is self._asked:
                        outward += self.check(now)
        return outward

    def _granted(self, speaker: Speaker, granted: Granted, now: float) -> list[Send | Fetch]:
        if not _is_possible(granted.external):
            return self._failed(speaker, Failed("names an external address that cannot be"), now)
        if granted.lifetime < SHORTEST:
            return self._failed(speaker, Failed("maps for less than a minute"), now)
        lifetime = min(granted.lifetime, LIFETIME)
        until = inf if granted.lifetime == inf else now + lifetime
        self.mapping = PortMapping(granted.external, speaker.name, until)
        self._wanted = granted.external
        self._state = _State.HOLDING
        self._next = now + max(lifetime / 2, RENEW_LEAST)
        self._rest = REST_FIRST
        return []

    def _failed(self, speaker: Speaker, failed: Failed, now: float) -> list[Send | Fetch]:
        speaker.trouble = failed.reason
        if self._state is _State.SEARCHING:
            self._refused.add(speaker)
            self._retry_after = max(self._retry_after, failed.retry_after)
            self._asked = None
            return []
        assert self.mapping is not None
        left = self.mapping.until - now
        if failed.answered or left <= 0:
            self.mapping = None
            return self._search(now)
        self._next = now + min(max(min(left, LIFETIME) / 2, RENEW_LEAST), max(left, 0.0))
        return []


def _is_possible(endpoint: Endpoint) -> bool:
    """Whether somebody could send there at all."""
    ip = ipaddress.ip_address(endpoint.host)
    special = ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_reserved
    return endpoint.port > 0 and not special and not ip.is_link_local
