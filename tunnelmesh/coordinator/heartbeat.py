"""Pings on a link: is it alive, and how long is its round trip?"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from tunnelmesh.interfaces import ILink
from tunnelmesh.wire import signal

FIRST_INTERVAL = 0.5
"""Seconds to the second ping; each next one takes four times as long, up to :data:`INTERVAL`. The
first are quick because a peer that has just started is busy and answers late."""

INTERVAL = 15.0
"""Seconds between pings: below the minute after which some proxies give up a silent connection."""

PATIENCE = 12.0
"""Seconds after a ping in which something must come: TCP's third retransmission is within them."""


class Heartbeat:
    """Pings the other end of one link, as long as it lives.

    :param dead: is called when nothing has come for :data:`PATIENCE` after a ping.
    """

    def __init__(
        self, reactor: IReactorTime, link: ILink, random: Random, dead: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._link = link
        self._random = random
        self._dead = dead
        self._interval = FIRST_INTERVAL
        self._token: int | None = None
        self._sent = 0.0
        self._heard = 0.0
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Ping, and go on pinging."""
        now = self._reactor.seconds()
        if self._token is None:
            self._token = self._random.getrandbits(32)
            self._sent = now
            self._link.send(signal.encode(signal.Ping(self._token)))
        elif now - max(self._sent, self._heard) >= PATIENCE:
            self._timer = None
            self._dead()
            return
        self._timer = self._reactor.callLater(self._interval, self.start)
        self._interval = min(self._interval * 4, INTERVAL)

    def stop(self) -> None:
        """Ping no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def heard(self) -> None:
        """Anything at all came over the link."""
        self._heard = self._reactor.seconds()

    def answered(self, token: int) -> float | None:
        """A pong came.

        :returns: the round trip in seconds, or None if it answers nothing that was asked.
        """
        if token != self._token:
            return None
        self._token = None
        return self._reactor.seconds() - self._sent
