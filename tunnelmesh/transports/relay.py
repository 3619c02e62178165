"""Datagrams through the coordinator: paths over whichever link is open, SSH or WebSocket."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from zope.interface import implementer

from tunnelmesh.bulk.run import Run
from tunnelmesh.interfaces import ILink, IPath, ITransport
from tunnelmesh.paths.selection import RELAY
from tunnelmesh.wire import frame

QUEUE = 192 * 1024
"""Bytes of frames held while the link is full: a few round trips' worth at relay speeds. More would
be delay, which the TCP flows inside would pay for."""

FRAME = 48 * 1024
"""Bytes of datagrams in one frame at most, so that a signal never waits behind much."""


@implementer(IPath)
class RelayPath:
    """The way to one peer through the coordinator.

    :ivar address: the peer's mesh address, 4 bytes.
    :ivar dropped: datagrams dropped because the link, or the other peer's, was full or gone.
    """

    remote = None
    way = RELAY
    mtu = 1 << 16

    def __init__(self, transport: RelayTransport, address: bytes) -> None:
        self.dropped = 0
        self._transport = transport
        self.address = address
        self._held = False

    @property
    def kind(self) -> str:
        """What the link is made of, as long as there is one."""
        return self._transport.kind

    def write(self, datagrams: Sequence[bytes]) -> None:
        """Send them unless the other peer's link is full."""
        if self._held or self._transport.link is None:
            self.dropped += len(datagrams)
            return
        for batch in frame.split(datagrams, FRAME):
            if not self._transport.send(frame.encode_relay(self.address, batch)):
                self.dropped += len(batch)

    def write_run(self, run: Run) -> None:
        """Send them like any others: a frame holds a batch anyway."""
        self.write(run.datagrams())

    def pauseProducing(self) -> None:
        """The coordinator holds more for the other peer than is good."""
        self._held = True

    def resumeProducing(self) -> None:
        """There is room again."""
        self._held = False

    def stopProducing(self) -> None:
        """Nothing more can be sent."""
        self._held = True


@implementer(ITransport)
class RelayTransport:
    """All relayed paths of a peer, over its present link.

    Paths outlive links: when the link changes from SSH to WebSocket, they go on over the new one.

    :ivar kind: what the link is made of, or was as long as there was one.
    :ivar sent: called whenever frames have been handed to the link.
    """

    def __init__(self) -> None:
        self.link: ILink | None = None
        self.kind = "no"
        self.sent: Callable[[], None] = lambda: None
        self._paths: dict[bytes, RelayPath] = {}
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0

    def use(self, link: ILink | None) -> None:
        """Another link carries from now on; what waited for the old one goes by the new one."""
        self.link = link
        if link is not None:
            self.kind = link.kind
        for path in self._paths.values():
            path.resumeProducing()
        self.resume()

    def path_to(self, remote: IPv4Address) -> RelayPath:
        """The way to the peer with that mesh address."""
        address = remote.packed
        path = self._paths.get(address)
        if path is None:
            path = self._paths[address] = RelayPath(self, address)
        return path

    def send(self, frames: bytes) -> bool:
        """Send now, or keep for when the link has room.

        :returns: False if dropped.
        """
        if self.link is None:
            return False
        if not self._waiting and self.link.send_bulk(frames):
            self.sent()
            return True
        if self._waiting_bytes + len(frames) > QUEUE:
            return False
        self._waiting.append(frames)
        self._waiting_bytes += len(frames)
        return True

    def resume(self) -> None:
        """The link has room: send what waits."""
        while self._waiting and self.link is not None and not self.link.paused:
            frames = self._waiting.popleft()
            self._waiting_bytes -= len(frames)
            self.link.send_bulk(frames)
