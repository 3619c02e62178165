"""Does a path carry datagrams? Judged by traffic, and by pings as large as the traffic.

A path is ``PROVING`` until a few pings in a row come back, large ones; then ``GOOD``. When data
goes out and nothing comes back for a few round trips it is pinged; when the ping stays unanswered
in the same silence the path is ``SUSPECT`` (the owner sends over the relay as well), and a little
later ``DEAD``. A dead path is pinged on, sparsely, since a firewall may open again.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import inf
from typing import NamedTuple

from tunnelmesh.paths.keepalive import Keepalive
from tunnelmesh.paths.path_mtu import BASE, PathMtu, Ping

GOOD_IN_A_ROW = 3
"""Pongs that prove a path: one may be luck, three spaced by round trips are not."""

SHORTEST_PATIENCE = 0.1
"""Seconds to wait for an answer at least: Python's collector or a busy core can take 50 ms."""

LONGEST_PATIENCE = 1.0
"""Seconds to wait at most, so that an outage stays within about a second (RFC 6298 §2.4 waits
longer, but has no second path to send on)."""

FIRST_PATIENCE = 0.4
"""Seconds to wait while no round trip was measured: beyond any that is not a satellite's."""

SILENCE_CHECK = 0.25
"""Seconds between pings at least while data goes out and none comes in, as in one-way streams."""

ACTIVE_CHECK = 1.0
"""Seconds between pings while data flows: finds a path that carries only the other way."""

DEATH = 0.5
"""Seconds in suspicion, at least, before a path is given up."""

DEATH_PINGS = 3
"""And so many unanswered pings: at 5 % loss, three of three are lost once in a thousand."""

ONE_WAY_PINGS = 6
"""Unanswered pings in a row after which a path is dead although data arrives by it."""

PROVING_PINGS = 5
"""Unanswered pings after which a path that was never good is given up."""

DEAD_INTERVAL = 1.0
"""Seconds between pings on a dead path: half of what makes a return within five seconds likely
even if one is lost, and about one packet a second."""

DEAD_PATIENCE = 60.0
"""Seconds of pinging a dead path before it is forgotten; then only a new meeting finds it. The
relay is not forgotten, and pinged on only under traffic."""

STALL = 0.5
"""Seconds late after which a timer says more about this machine (asleep, overloaded) than about
the path: ping afresh instead of judging."""

_REMEMBERED = 16
"""Pings awaited at most; older ones can only come back too late to matter."""


class State(Enum):
    """What is known of a path."""

    PROVING = "proving"
    GOOD = "good"
    SUSPECT = "suspect"
    DEAD = "dead"


class _Awaited(NamedTuple):
    sent_at: float
    size: int
    late: bool = False


class Health:
    """One path's health.

    :param tokens: gives a number never given before.
    :param mtu: how long datagrams it carries; None if any, as what goes inside a TCP stream.
    :param trusted: start ``GOOD``: the relay is usable before it is measured.
    :param patience: the shortest and the longest time to wait for an answer, in seconds.
    :param keepalive: what is known of how long the path may be idle.

    :ivar rtt: smoothed round trip in seconds (RFC 6298), or None so far.
    :ivar since: when the path became good; *proven*: whether it ever was.
    :ivar deadline: when to call :meth:`expire`; infinite if nothing is to be expected any more.
    """

    def __init__(
        self,
        now: float,
        tokens: Callable[[], int],
        mtu: PathMtu | None = None,
        *,
        trusted: bool = False,
        patience: tuple[float, float] = (SHORTEST_PATIENCE, LONGEST_PATIENCE),
        keepalive: Keepalive | None = None,
    ) -> None:
        self.mtu = mtu
        self.state = State.GOOD if trusted else State.PROVING
        self.rtt: float | None = None
        self.since = now
        self.proven = trusted
        self.heard_at = now
        self.keepalive = keepalive or Keepalive()
        self.deadline = now
        self._shortest, self._longest = patience
        self._tokens = tokens
        self._deviation = 0.0
        self._awaited: dict[int, _Awaited] = {}
        self._good = 0
        self._missed = 0
        self._pinged_at = now - ACTIVE_CHECK
        self._waiting_since: float | None = None
        self._largest = 0
        self._changed_at = now
        self._gap = 0.0

    @property
    def patience(self) -> float:
        """Seconds within which an answer is due."""
        if self.rtt is None:
            return max(FIRST_PATIENCE, self._shortest)
        wait = 1.5 * self.rtt + 4 * self._deviation + 0.02
        return min(max(wait, self._shortest), self._longest)

    @property
    def died_at(self) -> float | None:
        """When the path was given up, if it was."""
        return self._changed_at if self.state is State.DEAD else None

    @property
    def unanswered_since(self) -> float | None:
        """Since when data has been going out without anything coming back, if it has."""
        return self._waiting_since

    def sent(self, now: float, size: int) -> None:
        """Data went out on this path, in datagrams of up to *size* bytes."""
        self._largest = max(self._largest, size)
        if self._waiting_since is None:
            self._waiting_since = now
            self.deadline = min(self.deadline, now + self.patience)
        if self.state is State.DEAD:
            self.deadline = min(self.deadline, self._pinged_at + DEAD_INTERVAL)

    def heard(self, now: float) -> None:
        """Something authentic from the remote peer came in by this path."""
        self.heard_at = now
        self._waiting_since = None
        if self.state is State.SUSPECT:
            self._enter(State.GOOD, now)
        elif self.state is State.DEAD:
            self.deadline = min(self.deadline, max(now, self._pinged_at + SHORTEST_PATIENCE))

    def ponged(self, token: int, now: float) -> bool:
        """A pong came in by this path.

        :returns: whether its token was awaited here.
        """
        if self.mtu is not None and self.mtu.ponged(token, now):
            self.heard(now)
            self.deadline = min(self.deadline, self.mtu.deadline)
            return True
        awaited = self._awaited.pop(token, None)
        if awaited is None:
            return False
        # Pings before this one have been overtaken or lost; neither speaks against the path now.
        for earlier in [t for t, a in self._awaited.items() if a.sent_at < awaited.sent_at]:
            del self._awaited[earlier]
        self._measure(now - awaited.sent_at)
        self._missed = 0
        if self._gap:
            self.keepalive.survived(self._gap)
            self._gap = 0.0
        if self.state is State.DEAD:
            self._good = 0
            self._enter(State.PROVING, now)
            if self.mtu is not None:
                self.mtu.restart(now)
        elif self.mtu is not None:
            self.mtu.passed(awaited.size, awaited.sent_at)
        self.heard(now)
        if self.state is State.PROVING:
            if awaited.size >= BASE:
                self._good += 1
            if self._good >= GOOD_IN_A_ROW:
                self.since = now
                self.proven = True
                self._enter(State.GOOD, now)
            else:
                self.deadline = now
        return True

    def expire(self, now: float) -> list[Ping]:
        """Time has come: judge what was not answered, and ping if a ping is due."""
        if now - self.deadline > STALL:
            self._awaited.clear()
            self._waiting_since = None
        else:
            self._judge(now)
        mtu = None if self.state is State.DEAD else self.mtu
        pings = [] if mtu is None else mtu.expire(now, self.patience)
        due = self._ping_due()
        if pings or now >= due:
            pings.append(self._ping(now))
            due = self._ping_due()
        answers = [a.sent_at + self.patience for a in self._due().values()]
        if mtu is not None:
            answers.append(mtu.deadline)
        self.deadline = max(min([due, *answers]), now + 0.001)
        return pings

    def doubt(self, now: float) -> None:
        """This machine's network changed: check at once whether the path is what it was."""
        self.deadline = now
        self.sent(now - self.patience, 1)
        if self.mtu is not None:
            self.mtu.rise(now)

    def _due(self) -> dict[int, _Awaited]:
        """Pings whose answer may still come in time."""
        return {token: a for token, a in self._awaited.items() if not a.late}

    def _measure(self, rtt: float) -> None:
        if self.rtt is None:
            self.rtt, self._deviation = rtt, rtt / 2
        else:
            self._deviation += (abs(rtt - self.rtt) - self._deviation) / 4
            self.rtt += (rtt - self.rtt) / 8

    def _enter(self, state: State, now: float) -> None:
        if state is not self.state:
            self.state = state
            self._changed_at = now

    def _judge(self, now: float) -> None:
        late = {t: a for t, a in self._due().items() if now >= a.sent_at + self.patience}
        silent = any(a.sent_at >= self.heard_at for a in late.values())
        # A late answer still tells how long it takes now: without it, a path that became slower
        # would be judged by its old round trip for ever (RFC 6298 §5.5 backs off instead).
        for token, awaited in late.items():
            self._awaited[token] = awaited._replace(late=True)
        self._missed += len(late)
        if not late:
            return
        if self.mtu is not None and any(awaited.size > BASE for awaited in late.values()):
            self.mtu.doubt(now)
        if self.state is State.PROVING:
            self._good = 0
            if self._missed >= PROVING_PINGS:
                self._enter(State.DEAD, now)
        elif self.state is State.GOOD and silent:
            self._enter(State.SUSPECT, now)
        elif self.state is not State.DEAD and self._is_lost(now):
            if self._gap:
                self.keepalive.failed(self._gap)
                self._gap = 0.0
            self._enter(State.DEAD, now)

    def _is_lost(self, now: float) -> bool:
        if self._missed >= ONE_WAY_PINGS:
            return True
        suspected = self.state is State.SUSPECT and now - self._changed_at >= DEATH
        return suspected and self._missed >= DEATH_PINGS

    def _ping_due(self) -> float:
        """When the next ping is to be sent, as things stand."""
        after_last = self._pinged_at + self.patience
        if self.state is State.DEAD:
            # After a while only traffic asks on: a relay that never answers stays in the ladder.
            hoped = self._pinged_at < self._changed_at + DEAD_PATIENCE or self._largest
            return self._pinged_at + DEAD_INTERVAL if hoped else inf
        if self.state is State.PROVING:
            return after_last if self._due() else self._pinged_at + SHORTEST_PATIENCE / 4
        if self.state is State.SUSPECT or self._missed:
            return after_last
        due = self.heard_at + self.keepalive.interval
        if self._waiting_since is not None:
            again = self._pinged_at + max(self.patience, SILENCE_CHECK)
            due = min(due, max(self._waiting_since + self.patience, again))
        if self._largest:
            due = min(due, self._pinged_at + ACTIVE_CHECK)
        return max(due, after_last)

    def _ping(self, now: float) -> Ping:
        if self.state is State.GOOD and not self._due():
            self._gap = 0.0 if self._largest else now - self.heard_at
        if len(self._awaited) >= _REMEMBERED:
            del self._awaited[next(iter(self._awaited))]
        # A keepalive need not be large; what judges the path for traffic is as large as that.
        size = BASE if self.state is State.PROVING else self._largest
        if self.mtu is not None:
            size = min(size, BASE if self.mtu.checking else self.mtu.size)
        ping = Ping(self._tokens(), size)
        self._awaited[ping.token] = _Awaited(now, ping.size)
        self._pinged_at = now
        self._largest = 0
        return ping
