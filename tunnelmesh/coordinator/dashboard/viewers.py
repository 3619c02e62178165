"""Pages that are open: each is sent what there is to see, and then what changes, by a WebSocket."""

# autobahn is mostly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import json
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.web.http import FORBIDDEN, SERVICE_UNAVAILABLE, UNAUTHORIZED
from zope.interface import implementer

from tunnelmesh.coordinator.dashboard import origin
from tunnelmesh.coordinator.dashboard.sessions import Sessions
from tunnelmesh.coordinator.dashboard.view import View
from tunnelmesh.coordinator.reports import Reports
from tunnelmesh.transports.visits import Visit

MOST_VIEWERS = 32
"""Pages open at once; each costs a fraction of a millisecond for every update."""

INTERVAL = 1.0
"""Seconds between two updates: as often as a person can follow."""

PROMPTLY = 0.05
"""Seconds after a change, if the one before is long ago, for others that come with it."""

LINGER = 10.0
"""Seconds after the last page was closed in which peers still report: it may be just reloading."""

HEARTBEAT = 10.0
"""Seconds after which a page hears something even if nothing changes, and is pinged."""

PATIENCE = 35.0
"""Seconds without an answer to a ping after which a page is gone."""

MAX_FRAME = 256
"""Bytes of a frame from a page, which has nothing to say but a pong, or that it closes."""

SIGNED_OUT = 4401
"""Why a WebSocket closes (RFC 6455 §7.4.2 leaves 4000 and more to applications)."""


class Viewer(WebSocketServerProtocol):
    """One page.

    :ivar session: the secret of its session.
    :ivar stale: whether it has to be sent everything; *full*: whether it has yet to read.
    :ivar heard: when it last answered; *told*: when it was last sent anything.
    """

    log = Logger(observer=lambda event: None)  # type: ignore[arg-type]
    factory: _Factory
    transport: Any

    def __init__(self) -> None:
        super().__init__()
        self.session = ""
        self.stale = True
        self.full = False
        self.heard = self.told = 0.0

    def onConnect(self, request: ConnectionRequest) -> None:
        """Let our own page in, if it is signed in.

        :raises ConnectionDeny: otherwise.
        """
        headers = request.headers
        if not origin.is_own(headers.get("host"), headers.get("origin")):
            raise ConnectionDeny(FORBIDDEN, "this is for the dashboard's own page")
        self.session = origin.session_in(headers.get("cookie"))
        viewers = self.factory.viewers
        if not viewers.is_signed_in(self):
            raise ConnectionDeny(UNAUTHORIZED, "not signed in")
        if len(viewers) >= MOST_VIEWERS:
            raise ConnectionDeny(SERVICE_UNAVAILABLE, "too many dashboards are open: close some")

    def onOpen(self) -> None:
        """The page is there."""
        if isinstance(self.transport, Visit):
            self.transport.settled()
        self.transport.unregisterProducer()  # a web server's HTTPChannel, until now
        self.transport.registerProducer(_Outlet(self), True)
        self.factory.viewers.opened(self)

    def onMessageBegin(self, isBinary: bool) -> None:
        """It has nothing to say, so this is not our page."""
        super().onMessageBegin(isBinary)
        self.dropConnection(abort=True)

    def onPong(self, payload: bytes) -> None:
        """It answers."""
        self.heard = self.factory.viewers.now()

    def onPing(self, payload: bytes) -> None:
        """Browsers do not ask."""

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """It is gone."""
        self.factory.viewers.closed(self)

    def say(self, message: bytes) -> None:
        """Send JSON, unless the page is just closing."""
        if self.state == self.STATE_OPEN:
            self.sendMessage(message)

    def end(self) -> None:
        """Its session is over: send it away. One that stays is cut off as if it were gone."""
        if self.state == self.STATE_OPEN:
            self.sendClose(SIGNED_OUT, "signed out")
            self.transport.unregisterProducer()
            self.transport.loseConnection()


@implementer(IPushProducer)
class _Outlet:
    """A viewer's way out, paused and resumed by its connection."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer

    def pauseProducing(self) -> None:
        self._viewer.full = True

    def resumeProducing(self) -> None:
        self._viewer.full = False

    def stopProducing(self) -> None:
        """The connection is gone; the viewer hears of that as its protocol."""


class Viewers:
    """All pages that are open.

    One that does not read is left out, and sent everything when it reads again: nothing piles up.
    """

    def __init__(
        self, reactor: IReactorTime, sessions: Sessions, view: View, reports: Reports
    ) -> None:
        self._reactor = reactor
        self._sessions = sessions
        self._view = view
        self._reports = reports
        self._viewers: list[Viewer] = []
        self._call: IDelayedCall | None = None
        self._changed = 0.0

    def __len__(self) -> int:
        return len(self._viewers)

    def now(self) -> float:
        """The reactor's seconds."""
        return float(self._reactor.seconds())

    def is_signed_in(self, viewer: Viewer) -> bool:
        """Whether its session is on."""
        return self._sessions.is_valid(viewer.session, self.now())

    def opened(self, viewer: Viewer) -> None:
        """A page has been opened."""
        viewer.heard = self.now()
        self._viewers.append(viewer)
        self._reports.look(self)
        self._update()
        self._changed -= INTERVAL  # what the members tell now is what it waits for

    def closed(self, viewer: Viewer) -> None:
        """A page has been closed."""
        if viewer not in self._viewers:
            return
        self._viewers.remove(viewer)
        if not self._viewers:
            self._cancel()
            self._call = self._reactor.callLater(LINGER, self._look_away)

    def close(self) -> None:
        """Send everybody away."""
        for viewer in list(self._viewers):
            viewer.transport.abortConnection()
            self.closed(viewer)
        self._cancel()
        self._look_away()

    def signed_out(self) -> None:
        """A session has ended: its pages with it."""
        for viewer in list(self._viewers):
            if not self.is_signed_in(viewer):
                viewer.end()

    def soon(self) -> None:
        """Something has changed."""
        if self._viewers:
            self._update_at(max(self.now() + PROMPTLY, self._changed + INTERVAL))

    def _look_away(self) -> None:
        self._reports.look_away(self)
        self._view.clear()

    def _update_at(self, when: float) -> None:
        if self._call is not None and self._call.getTime() <= when:
            return
        self._cancel()
        self._call = self._reactor.callLater(max(0.0, when - self.now()), self._update)

    def _cancel(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _update(self) -> None:
        now = self.now()
        news = self._view.news()
        self._cancel()  # only now: looking may find changes of path, which are news in themselves
        if news is not None:
            self._changed = now
        delta = None if news is None else _encode(news)
        whole: bytes | None = None
        for viewer in list(self._viewers):
            if now - viewer.heard > PATIENCE:
                viewer.transport.abortConnection()
            elif not self.is_signed_in(viewer):
                viewer.end()
            elif viewer.full:
                viewer.stale = True
            elif viewer.stale:
                whole = whole or _encode(self._view.whole())
                viewer.stale = False
                self._tell(viewer, whole)
            elif delta is not None:
                self._tell(viewer, delta)
            elif now - viewer.told >= HEARTBEAT:
                self._tell(viewer, b"{}")
        if self._viewers:
            self._update_at(now + INTERVAL)

    def _tell(self, viewer: Viewer, message: bytes) -> None:
        now = self.now()
        if now - viewer.heard >= HEARTBEAT:
            viewer.sendPing()
        viewer.told = now
        viewer.say(message)


class _Factory(WebSocketServerFactory):
    def __init__(self, reactor: IReactorTime, viewers: Viewers) -> None:
        super().__init__(server="", reactor=reactor)
        self.setProtocolOptions(
            versions=[13],
            webStatus=False,
            maxFramePayloadSize=MAX_FRAME,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            autoPingInterval=0,
        )
        self.viewers = viewers

    def buildProtocol(self, addr: object) -> Viewer:  # type: ignore[override]
        viewer = Viewer()
        viewer.factory = self
        return viewer


def live_resource(reactor: IReactorTime, viewers: Viewers) -> WebSocketResource:
    """Where pages open their WebSockets."""
    return WebSocketResource(_Factory(reactor, viewers))


def _encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
