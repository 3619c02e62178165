"""Hard punches: the sockets, the pace and the limits of what this machine fires.

One at a time, so that the router's table is never filled by several; and so many packets an hour,
so that a coordinator which is no friend cannot make a weapon of this machine.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.logger import Logger

from tunnelmesh.errors import ListenError
from tunnelmesh.interfaces import IPath
from tunnelmesh.nat.birthday import MOST_PROBES
from tunnelmesh.nat.volley import Shot, Volley
from tunnelmesh.noise.load import TokenBucket
from tunnelmesh.peer.timer import Timer
from tunnelmesh.transports.fresh_udp import FreshPath, FreshUdp
from tunnelmesh.transports.udp import DatagramUser
from tunnelmesh.wire.probe import PING, ProbeSeal
from tunnelmesh.wire.signal import Tactic

BURST = 5.0 * MOST_PROBES
AN_HOUR = 10.0 * MOST_PROBES
"""Packets that all hard punches together may send at once, and in an hour for long: 20,000 of 68
bytes an hour are 3 kbit/s. Where many peers are to be met, most hard punches take a tenth of the
most that one may."""

LOOK = 0.5
"""Seconds between looks at the link to the coordinator, which shares the router."""

SLOWER = 2.0
SLOWER_BY = 0.5
"""The link is in distress when its round trip is so many times, and so many seconds more, than it
was before: the router has more to do than it can."""

_log = Logger()


class HardPunching:
    """What the hard punches of one machine share.

    :param user: who receives what arrives at fresh sockets.
    :param link: the round trip of the link to the coordinator in seconds, None while it is in doubt
        or unmeasured.
    :param check_link: has the link measured anew.

    :ivar probes: packets sent so far.
    """

    def __init__(
        self,
        reactor: Any,
        udp: Any,
        user: DatagramUser,
        tokens: Callable[[], int],
        random: Random,
        link: Callable[[], float | None],
        check_link: Callable[[], None],
    ) -> None:
        self.probes = 0
        self.reactor = reactor
        self.udp = udp
        self.user = user
        self.link = link
        self.check_link = check_link
        self._tokens = tokens
        self._random = random
        self._allowance = TokenBucket(AN_HOUR / 3600, BURST)
        self._running: HardPunch | None = None

    @property
    def running(self) -> bool:
        """Whether one is under way."""
        return self._running is not None

    def begin(
        self,
        tactic: Tactic,
        host: str,
        start: float,
        seal: ProbeSeal,
        ended: Callable[[HardPunch], None],
    ) -> HardPunch:
        """Start one, and end the one before: the coordinator knows that its other side has ended.

        :param host: the external address of the other side.
        :param ended: called when it is over, however it ended.
        """
        if self._running is not None:
            self._running.end("the next one began")
        volley = Volley(tactic, host, start, self._tokens, self._random)
        self._running = HardPunch(self, tactic, volley, seal, ended)
        return self._running

    def spend(self) -> bool:
        """Whether one more packet may be sent."""
        allowed = self._allowance.take(self.reactor.seconds())
        self.probes += allowed
        return allowed

    def over(self, punch: HardPunch) -> None:
        """It has ended."""
        if self._running is punch:
            self._running = None

    def stop(self) -> None:
        """End the one that runs."""
        if self._running is not None:
            self._running.end("this peer is stopping")


class HardPunch:
    """One hard punch.

    :ivar tactic: what this side does.
    :ivar outcome: how it ended, for people; None while it runs.
    :ivar direct: whether there was a direct path then; *whole*: whether it was tried to the end.
    """

    def __init__(
        self,
        shared: HardPunching,
        tactic: Tactic,
        volley: Volley,
        seal: ProbeSeal,
        ended: Callable[[HardPunch], None],
    ) -> None:
        self.tactic = tactic
        self.outcome: str | None = None
        self.direct = False
        self.whole = False
        self._shared = shared
        self._volley = volley
        self._seal = seal
        self._ended = ended
        self._sockets: dict[int, FreshUdp] = {}
        self._timer = Timer(shared.reactor, self._expired)
        self._link_before = shared.link()
        self._look_at = 0.0
        self._timer.set(volley.deadline)

    @property
    def probes(self) -> int:
        """Packets sent."""
        return self._volley.probes

    def seen(self, path: IPath, now: float) -> None:
        """An authentic ping of the peer came in at a fresh socket."""
        for number, socket in self._sockets.items():
            if isinstance(path, FreshPath) and path.transport is socket:
                self._fire(self._volley.seen(number, path.remote, now))
                return

    def ponged(self, token: int, path: IPath, now: float) -> float | None:
        """A pong came in.

        :returns: its round trip in seconds, if it answers a probe of this punch. The path, with its
            socket if that is a fresh one, is the caller's from then on.
        """
        rtt = self._volley.ponged(token, now)
        if rtt is None:
            return None
        for number, socket in list(self._sockets.items()):
            if isinstance(path, FreshPath) and path.transport is socket:
                del self._sockets[number]
        self.end("it found a way", direct=True)
        return rtt

    def end(self, outcome: str, *, direct: bool = False) -> None:
        """Send no more, and close what is not the path."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        self.direct = direct
        self._volley.stop()
        self._timer.cancel()
        sockets, self._sockets = self._sockets, {}
        for socket in sockets.values():
            socket.close()
        self._shared.over(self)
        _log.info(
            "hard punch ({style}) over after {probes} probes: {outcome}",
            style=self.tactic.style,
            probes=self.probes,
            outcome=outcome,
        )
        self._ended(self)

    def _expired(self) -> None:
        now = self._shared.reactor.seconds()
        if now >= self._look_at and self._is_distressed(now):
            self.end("the link to the coordinator became slow")
            return
        self._fire(self._volley.expire(now))
        if self.outcome is None and self._volley.deadline is None:
            self.whole = True
            self.end("no probe was answered")
        self._timer.set(None if self.outcome else self._volley.deadline)

    def _is_distressed(self, now: float) -> bool:
        """Whether the router, or what is behind it, has too much to do."""
        self._look_at = now + LOOK
        rtt, before = self._shared.link(), self._link_before
        if before is None:
            return False
        self._shared.check_link()
        return rtt is None or rtt > SLOWER * before + SLOWER_BY

    def _fire(self, shots: list[Shot]) -> None:
        for shot in shots:
            if not self._shared.spend():
                self.end("this hour's allowance of probes is used up")
                return
            ping = [self._seal.seal(PING, shot.token, 0)]
            if shot.socket is None:
                self._shared.udp.send(ping, shot.to)
                continue
            socket = self._socket(shot.socket)
            if socket is not None:
                socket.send(ping, shot.to)

    def _socket(self, number: int) -> FreshUdp | None:
        if number not in self._sockets:
            socket = FreshUdp(self._shared.user)
            try:
                socket.open(self._shared.reactor)
            except ListenError:  # as many files are open as may be: those that are must do
                return None
            self._sockets[number] = socket
        return self._sockets[number]
