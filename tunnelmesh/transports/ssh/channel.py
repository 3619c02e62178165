"""The SSH channel of frames: a coordinator link, at either end.

conch re-opens a channel's window as data arrives and buffers what is written without bound. Here
the window is re-opened as data is *consumed*, so that a user who pauses the link stops the other
end's bulk, and a write that does not fit is refused, so that a user who is not paused is kept
short. Part of the window is kept for signals, which therefore pass while bulk waits.
"""

# conch is mostly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.conch.ssh.channel import SSHChannel
from twisted.logger import Logger
from zope.interface import implementer

from tunnelmesh.errors import LinkError, TunnelMeshError
from tunnelmesh.interfaces import ILink, ILinkUser
from tunnelmesh.transports.ssh.transport import FramesTransport, quiet
from tunnelmesh.wire.frame import HEADER, SIGNAL, FrameDecoder

CHANNEL_TYPE = b"frames@tunnelmesh"

WINDOW = 2 << 20
"""Bytes the other end may send before we have consumed any: a round trip of 40 ms at 400 Mbit/s,
and the most that waits here for a user who has paused the link."""

GRANT = 64 * 1024
"""The window is re-opened in steps of this many bytes: a small part of :data:`SIGNAL_ROOM`, so that
signals consumed while bulk waits make room for the next ones."""

MAX_PACKET = 256 * 1024
"""Data in one SSH message (conch takes 1 MiB): any frame fits whole, so a write is one message."""

SMALLEST_PACKET = 32 * 1024
"""The least that RFC 4253 §6.1 asks an end to take; less would multiply our work per byte."""

SIGNAL_ROOM = 256 * 1024
"""Bytes of the other end's window that bulk leaves free: the last bulk may overrun by one frame."""

HIGH_WATER = 64 * 1024
"""Bytes waiting for TCP (beyond Twisted's own buffer of 64 KB) or for a key exchange that pause
bulk. More is no faster, and signals wait behind it."""

MAX_SIGNALS = 256 * 1024
"""Bytes of signals held for an end that opens no window; it has stopped reading long ago."""


@implementer(ILink)
class FramesChannel(SSHChannel):
    """One end of the link.

    :param user: who uses it.
    :param remote_window: bytes that the other end will take at first (a client learns it later).
    :param remote_max_packet: bytes that it takes in one message (likewise).
    :param proxy: the proxy that the connection goes through, without its password.
    """

    _log = quiet
    _own_log = Logger()
    name = CHANNEL_TYPE
    kind = "ssh"
    conn: Any

    def __init__(
        self,
        user: ILinkUser,
        remote_window: int = 0,
        remote_max_packet: int = 0,
        *,
        proxy: str | None = None,
    ) -> None:
        super().__init__(WINDOW, MAX_PACKET, remote_window, remote_max_packet)
        self.user = user
        self.proxy = proxy
        self.remote = ""
        self.key: bytes | None = None
        self.paused = False
        self.refused = 0
        """Bulk writes refused while paused."""
        self._decoder = FrameDecoder()
        self._held: deque[tuple[int, bytes]] | None = None
        self._owed = 0

    # From conch.

    def channelOpen(self, specificData: bytes) -> None:
        """Both ends agree on the channel: the link is open.

        :raises LinkError: if the other end wants its data in crumbs.
        """
        if self.remoteMaxPacket < SMALLEST_PACKET:
            raise LinkError(f"the other end takes only {self.remoteMaxPacket} bytes in a message")
        transport: FramesTransport = self.conn.transport
        self.key = transport.key
        self.remote = address_text(transport.transport.getPeer())
        transport.opened(self)
        self._tell(self.user.link_opened, self)

    def dataReceived(self, data: bytes) -> None:
        """Hand whole frames to the user; bulk waits while it has paused the link."""
        frames = self._decoder.receive(data)
        self._owed += len(data)
        if self._held is not None:
            bulk = [frame for frame in frames if frame[0] != SIGNAL]
            frames = [frame for frame in frames if frame[0] == SIGNAL]
            self._held.extend(bulk)
            self._owed -= sum(HEADER + len(body) for _, body in bulk)
        if frames:
            self._tell(self.user.frames_received, self, frames)
        self._grant()

    def addWindowBytes(self, data: int) -> None:
        """The other end takes so many more bytes."""
        super().addWindowBytes(data)
        self.room_changed()

    def requestReceived(self, requestType: bytes, data: bytes) -> int:
        """Refuse: a channel of frames has no shell, environment or subsystem."""
        return 0

    def eofReceived(self) -> None:
        """The other end will send no more: the link is of no use."""
        self.conn.transport.end("end of the stream of frames")

    def closeReceived(self) -> None:
        """Likewise."""
        self.conn.transport.end("the channel of frames was closed")

    def closed(self) -> None:
        """The connection is gone."""
        self._held = None
        self._tell(self.user.link_lost, self, self.conn.transport.reason)

    # For the user: ILink.

    def send(self, frames: bytes) -> None:
        """Send whole frames, now, even while paused.

        The link is closed if more than :data:`MAX_SIGNALS` bytes wait for the other end to read.
        """
        if self.conn.transport.ended:
            return
        self.write(frames)
        if len(self.buf) > MAX_SIGNALS:
            self.conn.transport.end("the other end does not read")
        self.room_changed()

    def send_bulk(self, frames: bytes) -> bool:
        """Send whole frames unless paused.

        :returns: False, having dropped and counted them, while paused or closed.
        """
        if self.paused or self.conn.transport.ended:
            self.refused += 1
            return False
        self.write(frames)
        self.room_changed()
        return True

    def close(self, reason: str) -> None:
        """Close the connection; link_lost follows."""
        self.conn.transport.end(reason)

    def pauseProducing(self) -> None:
        """Hold bulk back, and with it, once a window of it waits here, the other end.

        Signals go on being delivered.
        """
        if self._held is None:
            self._held = deque()

    def resumeProducing(self) -> None:
        """Deliver what was held, frame by frame as the user may pause again, and ask for more."""
        held, self._held = self._held, None
        while held:
            frame = held.popleft()
            self._owed += HEADER + len(frame[1])
            self._tell(self.user.frames_received, self, [frame])
            if self._held is not None:
                self._held.extendleft(reversed(held))
                break
        self._grant()

    def stopProducing(self) -> None:
        """Close the connection."""
        self.conn.transport.end("no longer wanted")

    # Room.

    def room_changed(self) -> None:
        """Tell the user if the link has become full, or has room again."""
        full = (
            bool(self.buf)
            or self.remoteWindowLeft < SIGNAL_ROOM
            or self.conn.transport.backlog > HIGH_WATER
        )
        if full != self.paused:
            self.paused = full
            self._tell(self.user.link_paused if full else self.user.link_resumed, self)

    def _grant(self) -> None:
        """Let the other end send as many bytes as were consumed."""
        if self._owed >= GRANT and not self.conn.transport.ended:
            owed, self._owed = self._owed, 0
            self.conn.adjustWindow(self, owed)

    # The rest.

    def _tell(self, method: Any, *args: object) -> None:
        """Call the user, who may find that the other end breaks the protocol in its turn."""
        try:
            method(*args)
        except TunnelMeshError as error:
            self.conn.transport.failed(error)
        except Exception:
            self._own_log.failure("SSH link to {remote}: error in its user", remote=self.remote)
            self.conn.transport.end("internal error")


def address_text(address: object) -> str:
    """A transport's address for people: ``192.0.2.1:2222``, ``[2001:db8::1]:2222``."""
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is None or port is None:
        return "unknown"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
