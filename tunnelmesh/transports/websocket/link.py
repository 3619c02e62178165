"""What both ends of a WebSocket link have in common."""

# autobahn is mostly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from autobahn.twisted.websocket import WebSocketAdapterProtocol
from autobahn.websocket.protocol import WebSocketProtocol
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tunnelmesh.errors import DecodeError, TunnelMeshError
from tunnelmesh.interfaces import ILink, ILinkUser
from tunnelmesh.transports.reasons import printable, reason_text
from tunnelmesh.transports.unsent import keep_unsent_small
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.frame import HEADER, FrameDecoder

PATH = "/v1/link"
"""Where the coordinator's web site has its :class:`LinkResource`."""

SUBPROTOCOL = "tunnelmesh.v1"
"""What both ends must name in the WebSocket handshake."""

MAX_MESSAGE = 1 << 18
"""Longest message taken or sent, in bytes: room for the longest frame, and others with it."""

MAX_STRANGERS_MESSAGE = 1 << 14
"""The same until ``link.key`` is known: what joining and signing in need, and little to hold for
each of thousands of strangers."""

MAX_UNREAD_SIGNALS = 1 << 20
"""Bytes of signals put into a connection that is full before it is given up: signals are few and
small, so the other end is not slow, it has stopped reading."""

OPEN_SECONDS = 10.0
"""From the first SYN to an open link: six round trips through a proxy, on a slow satellite 5 s."""

CLOSE_SECONDS = 2.0
"""For the other end to answer a close and take what was sent before it."""

OPTIONS = {
    "maxMessagePayloadSize": MAX_MESSAGE,
    "maxFramePayloadSize": MAX_MESSAGE,
    "openHandshakeTimeout": 0,
    "closeHandshakeTimeout": 0,
    "autoPingInterval": 0,
}
"""For autobahn, which by itself has no limits, and timers on a global reactor."""

_log = Logger()


@implementer(ILink)
class Link(WebSocketAdapterProtocol, WebSocketProtocol):
    """What both ends have in common: a link, made of a WebSocket, mixed in before autobahn's end.

    :param reactor: the clock.
    :param user: who uses the link.
    """

    log = Logger(observer=lambda event: None)  # type: ignore[arg-type]
    kind = "websocket"
    limit = MAX_MESSAGE
    """Longest message taken while ``key`` is not known."""
    transport: Any
    peer: Any
    _transport_details: Any
    proxy: str | None = None

    def __init__(self, reactor: IReactorTime, user: ILinkUser) -> None:
        super().__init__()
        self.user = user
        self.key: bytes | None = None
        self.paused = False
        self.remote = ""
        self._reactor = reactor
        self._opened = False
        self._end: str | None = None
        self._abort: IDelayedCall | None = None
        self._unread = 0
        self._decoder = FrameDecoder()

    # For the user: ILink.

    def send(self, frames: bytes) -> None:
        """Send whole frames, now, even while paused; close the link if that goes too far."""
        if self.state != self.STATE_OPEN:
            return
        if self.paused:
            self._unread += len(frames)
            if self._unread > MAX_UNREAD_SIGNALS:
                self.fail("the other end does not read")
                return
        self._write(frames)

    def send_bulk(self, frames: bytes) -> bool:
        """Send whole frames, unless paused or closed."""
        if self.paused or self.state != self.STATE_OPEN:
            return False
        self._write(frames)
        return True

    def close(self, reason: str) -> None:
        """Close the connection, saying why; link_lost follows."""
        if self.state == self.STATE_OPEN:
            self._end = self._end or reason
            self.sendClose(self.CLOSE_STATUS_CODE_NORMAL, reason)
            self._abort_later()

    def pauseProducing(self) -> None:
        """Read no more from the connection, so that the other end has to wait."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Close the connection."""
        self.close("no longer wanted")

    # The connection's send buffer.

    def outlet_full(self) -> None:
        """The connection has more to send than it wants to hold."""
        if not self.paused:
            self.paused = True
            self._tell(self.user.link_paused)

    def outlet_free(self) -> None:
        """It has sent all."""
        if self.paused:
            self.paused = False
            self._unread = 0
            self._tell(self.user.link_resumed)

    # From autobahn.

    def onOpen(self) -> None:
        """The handshake is done."""
        self._opened = True
        peer = self.transport.getPeer()
        self.remote = str(Endpoint(peer.host, peer.port))
        keep_unsent_small(self.transport)
        # A web server's HTTPChannel is still registered there.
        self.transport.unregisterProducer()
        self.transport.registerProducer(_Outlet(self), True)
        self._tell(self.user.link_opened)

    def onMessageFrameBegin(self, length: int) -> None:
        """A frame begins; a stranger's may not be as long as autobahn's limit allows."""
        super().onMessageFrameBegin(length)
        if self.key is None and self.message_data_total_length > self.limit:
            self.fail("a message too long for somebody who has not signed in")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Hand a message's frames to the user."""
        if self.state != self.STATE_OPEN:
            return
        if not isBinary:
            self.fail("a text message")
            return
        try:
            frames = self._decoder.receive(payload)
        except DecodeError as problem:
            self.fail(str(problem))
            return
        if self._decoder.unfinished:
            self.fail("a message that ends inside a frame")
        elif frames:
            self._tell(self.user.frames_received, frames)

    def onPing(self, payload: bytes) -> None:
        """Answer, unless the other end does not read the answers."""
        if not self.paused:
            self.sendPong(payload)

    def onCloseFrame(self, code: int, reasonRaw: bytes) -> bool | None:
        """The other end closes; autobahn answers, and waits for ever if it may."""
        done = super().onCloseFrame(code, reasonRaw)
        if self._end is None and not self.failedByMe:
            self._end = "the other end closed the connection"
            if self.remoteCloseReason:
                self._end += f": {printable(self.remoteCloseReason)}"
        self._abort_later()
        return done

    def fail(self, reason: str) -> None:
        """Cut the connection: the other end breaks the protocol, or is not there."""
        self._end = self._end or reason
        self.dropConnection(abort=True)

    # Autobahn's adapter to Twisted, without its logging and introspection.

    def connectionMade(self) -> None:
        """TCP is open, or (in a web server) a request has come."""
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self._connectionMade()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the WebSocket."""
        self._dataReceived(data)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Bytes for the WebSocket."""
        self.transport.write(data)

    def onMessageEnd(self) -> None:
        """A message is whole."""
        parts, self.message_data = self.message_data, []
        if not self.failedByMe:
            self.onMessage(b"".join(parts), self.message_is_binary)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """TCP is gone: say what really happened, which autobahn does not know."""
        if self._abort is not None:
            self._abort.cancel()
            self._abort = None
        if self._end is None:
            dropped = self.droppedByMe or self.failedByMe
            words = self.wasNotCleanReason if dropped else None
            self._end = printable(words) if words else reason_text(reason.value)  # type: ignore[arg-type]
        self._connectionLost(reason)  # type: ignore[arg-type]
        if self._opened:
            self._opened = False
            self._tell(self.user.link_lost, self._end)

    def _write(self, frames: bytes) -> None:
        if len(frames) <= MAX_MESSAGE:
            self.sendMessage(frames, True)
            return
        for message in _cut(frames):
            self.sendMessage(message, True)

    def _onOpen(self) -> None:
        self.onOpen()

    def _closeConnection(self, abort: bool = False) -> None:
        super()._closeConnection(abort)
        if not abort:
            self._abort_later()

    def _abort_later(self) -> None:
        """The orderly end that was begun may wait for an other end that never answers."""
        if self._abort is None:
            self._abort = self._reactor.callLater(CLOSE_SECONDS, self._abort_now)

    def _abort_now(self) -> None:
        self._abort = None
        self.transport.abortConnection()

    def _tell(self, method: Callable[..., None], *args: object) -> None:
        """Call the user, who may find in its turn that the other end breaks the protocol."""
        try:
            method(self, *args)
        except TunnelMeshError as problem:
            self.fail(str(problem))
        except Exception:
            _log.failure("WebSocket link to {remote}: error in its user", remote=self.remote)
            self.fail("internal error")


@implementer(IPushProducer)
class _Outlet:
    """A link's way out, paused and resumed by the connection (a link's own pause is its way in)."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def pauseProducing(self) -> None:
        self._link.outlet_full()

    def resumeProducing(self) -> None:
        self._link.outlet_free()

    def stopProducing(self) -> None:
        """The connection is gone; the link hears of that as its protocol."""


def _cut(frames: bytes) -> Iterator[bytes]:
    """Whole frames as messages of at most :data:`MAX_MESSAGE` bytes."""
    start = at = 0
    while at < len(frames):
        end = at + HEADER + int.from_bytes(frames[at + 1 : at + HEADER], "big")
        if end - start > MAX_MESSAGE:
            yield frames[start:at]
            start = at
        at = end
    yield frames[start:]
