"""The link to the coordinator: opened by whichever way works, kept up, and improved when possible.

SSH first; WebSocket a moment later; directly and through the proxy. Whichever is welcome first
carries. A link that is in doubt is replaced before it is given up, and one over WebSocket by SSH as
soon as that becomes possible; either way the new link is in use before the old one closes.
"""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from tunnelmesh.errors import TunnelMeshError
from tunnelmesh.identity import Identity
from tunnelmesh.paths.health import Health
from tunnelmesh.peer.link.egress import Egress, Route, Whereabouts
from tunnelmesh.peer.link.race import Race
from tunnelmesh.peer.link.session import Session
from tunnelmesh.transports.relay import RelayTransport
from tunnelmesh.wire.signal import Refused, Signal, Welcome

HEAD_START = 0.3
"""Seconds that each way of opening a link gets before the next is tried beside it: a round trip or
two to the other side of the world (RFC 8305 §8 takes 0.25 between addresses)."""

FIRST_DELAY, LONGEST_DELAY, DELAY_GROWTH = 0.2, 2.0, 1.5
"""Seconds between attempts: a coordinator that comes back is found within about two, and even
thousands of peers are then only a few thousand small connections in that time."""

MOST_GROWTH = 10
"""Attempts after which the pause has long been the longest; a power must end somewhere."""

STEADY = 5.0
"""Seconds that a link lives at least. Where one after the other ends sooner, the coordinator is in
trouble, or hostile, and is not to be asked again as fast as the network allows."""

CLIMB_USED, CLIMB_IDLE = 4.0, 60.0
"""Seconds between attempts at SSH while on WebSocket, with relayed traffic and without."""

CLIMB_SECONDS = 4.0
"""Seconds that one such attempt may take: with the pause before it, under ten."""

IN_USE = 60.0
"""Seconds after the last relayed traffic during which the link counts as used."""

_log = Logger()


class LinkUser(Protocol):
    """Who uses the link, whichever it is."""

    def link_up(self, welcome: Welcome, before: Route | None, failed: Health | None) -> None:
        """A link is in use; *before* is the one that it replaces, and *failed* its health if that
        was in doubt."""

    def link_down(self, reason: str) -> None:
        """There is no link."""

    def signal_received(self, message: Signal) -> None: ...
    def relayed(self, address: bytes, datagrams: Sequence[bytes]) -> None: ...

    def expelled(self, message: Refused) -> None:
        """This machine is no member any more, and does not try again."""


class CoordinatorLink(Service):
    """Keeps one link open.

    :ivar session: the one in use, or None.
    :ivar route: how it was opened.
    :ivar failures: why other ways do not work, by their names.
    :ivar userspace: whether this machine has no network device; set before the start.
    """

    def __init__(
        self,
        reactor: Any,
        identity: Identity,
        where: Whereabouts,
        egress: Egress,
        software: str,
        tokens: Callable[[], int],
        relay: RelayTransport,
        user: LinkUser,
        random_factor: Callable[[], float],
    ) -> None:
        self.session: Session | None = None
        self.route: Route | None = None
        self.failures: dict[str, str] = {}
        self.userspace = False
        self._reactor = reactor
        self._identity = identity
        self._where = where
        self._egress = egress
        self._software = software
        self._tokens = tokens
        self._relay = relay
        self._user = user
        self._random_factor = random_factor
        self._routes: dict[Session, Route] = {}
        self._needed: Deferred[None] | None = None
        self._tasks: list[Deferred[None]] = []
        self._relayed_at = float(reactor.seconds())
        self._opening: Deferred[Session] | None = None

    def startService(self) -> None:
        """Begin."""
        super().startService()
        for task in (self._keep(), self._climb()):
            running = Deferred.fromCoroutine(task)
            running.addErrback(_stopped)
            self._tasks.append(running)

    def stopService(self) -> None:
        """Close the link."""
        super().stopService()
        for task in self._tasks:
            task.cancel()
        session, self.session = self.session, None
        if session is not None:
            self._relay.use(None)
            session.close("this peer is stopping")

    def send(self, message: Signal) -> None:
        """Send a signal, if there is a link."""
        if self.session is not None:
            self.session.send(message)

    def network_changed(self) -> None:
        """This machine's network changed: see whether the link survived, and do not wait."""
        if self.session is not None:
            self.session.check()
        if self._opening is not None:
            self._opening.cancel()

    @property
    def rtt(self) -> float | None:
        """Seconds to the coordinator and back."""
        return None if self.session is None else self.session.health.rtt

    @property
    def well_rtt(self) -> float | None:
        """The same, None while the link is in doubt as well."""
        return self.rtt if self.session is not None and self.session.is_well else None

    def check(self) -> None:
        """Measure the link anew."""
        if self.session is not None:
            self.session.check()

    # SessionUser.

    def signal_received(self, session: Session, message: Signal) -> None:
        """The coordinator says something."""
        self._user.signal_received(message)

    def relay_received(self, session: Session, address: bytes, datagrams: Sequence[bytes]) -> None:
        """The coordinator relays something."""
        self._relayed_at = self._reactor.seconds()
        self._user.relayed(address, datagrams)

    def relay_sent(self) -> None:
        """Frames for other peers were sent."""
        self._relayed_at = self._reactor.seconds()
        if self.session is not None:
            self.session.relayed()

    def session_doubtful(self, session: Session) -> None:
        """It does not answer: open another beside it."""
        if session is self.session:
            self._need()

    def session_paused(self, session: Session, paused: bool) -> None:
        """It is full, or has room again."""
        if session is self.session and not paused:
            self._relay.resume()

    def session_lost(self, session: Session, reason: str) -> None:
        """It is gone."""
        route = self._routes.pop(session, None)
        if session is not self.session:
            return
        _log.info("link to the coordinator over {route} lost: {reason}", route=route, reason=reason)
        self.session = self.route = None
        self._relay.use(None)
        self._user.link_down(reason)
        self._need()

    def expelled(self, message: Refused) -> None:
        """The coordinator wants to see this machine no more."""
        if self.running:
            self.stopService()
            self._user.expelled(message)

    # Opening.

    async def _keep(self) -> None:
        """Open a link whenever one is needed."""
        short = 0
        while True:
            self._opening = self._race(self._insist, self._egress.routes)
            try:
                session = await self._opening
            except CancelledError:
                if not self.running:
                    raise
                continue  # the network changed: begin afresh
            finally:
                self._opening = None
            needed = self._needed = Deferred()
            since = self._reactor.seconds()
            self._adopt(session)
            await needed
            short = short + 1 if self._reactor.seconds() - since < STEADY else 0
            if short > 1:
                await deferLater(self._reactor, self._delay(short))

    async def _climb(self) -> None:
        """While the link is a WebSocket, try SSH again and again."""
        while True:
            used = self._reactor.seconds() - self._relayed_at < IN_USE
            await deferLater(self._reactor, CLIMB_USED if used else CLIMB_IDLE)
            better = [route for route in self._egress.routes if route.kind == "ssh"]
            if self.route is None or self.route.kind == "ssh" or not better:
                continue
            race = self._race(self._attempt, better).addTimeout(CLIMB_SECONDS, self._reactor)
            try:
                session = await race
            except (TunnelMeshError, TimeoutError):
                continue  # why is in self.failures
            self._adopt(session)

    def _race(
        self, way: Callable[[Route], Coroutine[Any, Any, Session]], routes: Sequence[Route]
    ) -> Deferred[Session]:
        def attempt(route: Route) -> Callable[[], Deferred[Session]]:
            return lambda: Deferred.fromCoroutine(way(route))

        return Race(self._reactor, [attempt(route) for route in routes], HEAD_START).result

    async def _insist(self, route: Route) -> Session:
        """Try one route again and again: it need not wait for another that is slow to fail."""
        failed = 0
        while True:
            try:
                return await self._attempt(route)
            except TunnelMeshError:
                failed += 1
            await deferLater(self._reactor, self._delay(failed))

    def _delay(self, failed: int) -> float:
        """Seconds before the next attempt, in part at random: not all peers are to come at once."""
        grown = FIRST_DELAY * DELAY_GROWTH ** min(failed, MOST_GROWTH)
        return min(grown, LONGEST_DELAY) + 0.5 + self._random_factor() / 2

    async def _attempt(self, route: Route) -> Session:
        session = Session(
            self._reactor,
            self._identity,
            self._where.pin,
            self._software,
            self._tokens,
            self,
            userspace=self.userspace,
        )
        self._routes[session] = route
        try:
            await self._egress.open(route, self._identity, session)
            await session.until_welcome()
        except Exception as error:
            self._routes.pop(session, None)
            session.close("not needed")
            if isinstance(error, TunnelMeshError):
                self._failed(str(route), str(error))
            raise
        self.failures.pop(str(route), None)
        return session

    def _failed(self, route: str, problem: str) -> None:
        if self.failures.get(route) != problem:
            self.failures[route] = problem
            _log.info("no link to the coordinator over {route}: {e}", route=route, e=problem)

    def _adopt(self, session: Session) -> None:
        """Use this link from now on, and close the one before."""
        old, before = self.session, self.route
        failed = None if old is None or old.is_well else old.health
        self.session, self.route = session, self._routes[session]
        self._relay.use(session.link)
        _log.info("linked to the coordinator over {route}", route=self.route)
        assert session.welcome is not None
        self._user.link_up(session.welcome, before, failed)
        if old is not None:
            self._routes.pop(old, None)
            old.close("replaced by another link")

    def _need(self) -> None:
        needed, self._needed = self._needed, None
        if needed is not None:
            needed.callback(None)


def _stopped(failure: Failure) -> None:
    if not failure.check(CancelledError):
        _log.failure("the coordinator link is not kept up any more", failure)
