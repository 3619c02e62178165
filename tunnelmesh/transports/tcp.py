"""Datagrams over a TCP connection between two peers, where no UDP passes.

The connection carries frames (:mod:`tunnelmesh.wire.frame`), each a batch of datagrams. Until its
owner has seen who is at the other end it takes none that is longer than probes are.
"""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet import protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tunnelmesh.bulk.run import Run
from tunnelmesh.errors import DecodeError
from tunnelmesh.interfaces import IPath
from tunnelmesh.paths.selection import Flow
from tunnelmesh.wire import frame
from tunnelmesh.wire.endpoint import Endpoint

QUEUE = 192 * 1024
"""Bytes of frames held while the connection is full, as for the relay: more would be delay."""

FRAME = 48 * 1024
"""Bytes of datagrams in one frame at most."""

UNSENT = 128 * 1024
"""Bytes that the kernel holds before it has sent them: what waits there delays the probes as well,
and its own buffer grows to megabytes (Linux's TCP_NOTSENT_LOWAT)."""

STRANGER_FRAME = 2048
"""Longest frame taken from who has not shown who it is: a probe as large as traffic, which may come
together with the one that shows it."""


class TcpPathUser(Protocol):
    """Who uses a path."""

    def path_opened(self, path: TcpPath) -> None: ...
    def datagrams_received(self, datagrams: Sequence[bytes], path: TcpPath) -> None: ...
    def path_lost(self, path: TcpPath) -> None: ...


@implementer(IPath)
class TcpPath(protocol.Protocol):
    """One connection.

    :ivar user: who is told what happens.
    :ivar is_open: it carries something.
    :ivar is_trusted: the other end has shown who it is.
    :ivar dropped: datagrams dropped because the connection was full or gone.
    :ivar unknown: frames of kinds that are not known.
    """

    kind = "tcp"
    mtu = 1 << 16
    transport: Any

    def __init__(self, user: TcpPathUser) -> None:
        self.user = user
        self.dropped = 0
        self.unknown = 0
        self._decoder = frame.FrameDecoder(STRANGER_FRAME)
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._waiting_bytes = 0
        self.is_open = self.is_trusted = False
        self._held = False

    def trust(self, user: TcpPathUser) -> None:
        """The other end has shown who it is; *user* takes over."""
        self.user = user
        self.is_trusted = True
        self._decoder.max_body = frame.MAX_BODY

    def write(self, datagrams: Sequence[bytes]) -> None:
        """Send them, or keep them for a moment, or drop them."""
        if not self.is_open:
            self.dropped += len(datagrams)
            return
        for batch in frame.split(datagrams, FRAME):
            framed = frame.encode_batch(batch)
            if not self._held:
                self.transport.write(framed)
            elif self._waiting_bytes + len(framed) <= QUEUE:
                self._waiting.append((framed, len(batch)))
                self._waiting_bytes += len(framed)
            else:
                self.dropped += len(batch)

    def write_run(self, run: Run) -> None:
        """Send them like any others: a frame holds a batch anyway."""
        self.write(run.datagrams())

    def pauseProducing(self) -> None:
        """The connection is full."""
        self._held = True

    def resumeProducing(self) -> None:
        """There is room again: send what waits."""
        self._held = False
        while self._waiting and not self._held:
            framed, _ = self._waiting.popleft()
            self._waiting_bytes -= len(framed)
            self.transport.write(framed)

    def stopProducing(self) -> None:
        """Close it; what it has not sent is lost, as datagrams may be."""
        if self.is_open:
            self.is_open = False
            self.transport.abortConnection()

    # Protocol.

    def connectionMade(self) -> None:
        """It is open."""
        here, there = self.transport.getHost(), self.transport.getPeer()
        self.remote = Endpoint(there.host, there.port)
        self.way = Flow("tcp", here.port, self.remote)
        self.is_open = True
        self.transport.setTcpNoDelay(True)
        opened = getattr(self.transport, "socket", None)
        if opened is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        self.transport.registerProducer(self, True)
        self.user.path_opened(self)

    def dataReceived(self, data: bytes) -> None:
        """Something came: whole frames of it are datagrams."""
        datagrams: list[bytes] = []
        try:
            for kind, body in self._decoder.receive(data):
                if kind == frame.BATCH:
                    datagrams += frame.decode_batch(body)
                else:
                    self.unknown += 1
        except DecodeError:
            self.stopProducing()
            return
        if datagrams and self.is_open:
            self.user.datagrams_received(datagrams, self)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """It is closed."""
        self.is_open = False
        self.dropped += sum(count for _, count in self._waiting)
        self._waiting.clear()
        self.user.path_lost(self)
