"""The hub: datagrams from one member to another, for pairs that cannot reach each other directly.

A ``RELAY`` frame is forwarded by the mesh address in its first four bytes, which are replaced by
the sender's; the rest is not looked at. When a receiver's link is full, a little is kept for it,
and those who send to it, and only those, are asked to hold back until there is room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import groupby

from tunnelmesh.coordinator.buckets import TokenBuckets
from tunnelmesh.coordinator.presence import Presence
from tunnelmesh.wire import frame, signal

QUEUE = 256 * 1024
"""Bytes kept for a receiver whose link is full. More would only be delay."""

HOLD_AT = 64 * 1024
"""Bytes waiting from which senders are told to hold. A busy link is full for moments all the time;
the rest of the queue takes what is under way when they hear of it: 15 ms at 100 Mbit/s."""

GONE_BURST = 2
GONE_INTERVAL = 1.0
"""How often a sender is told that somebody is not online, per address: at once, then each second,
though it may send thousands of datagrams in between."""

GONE_KEPT = 4096
"""Pairs whose telling is remembered."""


@dataclass(slots=True)
class Counters:
    """What has passed: frames and bytes carried, frames dropped."""

    frames: int = 0
    bytes: int = 0
    dropped: int = 0


class _Queue:
    """What waits for one receiver, and who was asked to wait with it."""

    def __init__(self) -> None:
        self.runs: deque[tuple[int, bytes]] = deque()
        self.size = 0
        self.held: set[IPv4Address] = set()


class RelayHub:
    """Forwards what members send each other.

    :param online: everybody who is online by mesh address; the registry keeps it up to date.
    """

    def __init__(self, online: dict[IPv4Address, Presence]) -> None:
        self.counters = Counters()
        self._online = online
        self._queues: dict[IPv4Address, _Queue] = {}
        self._gone = TokenBuckets(GONE_BURST, GONE_INTERVAL, GONE_KEPT)

    def forward(self, sender: Presence, bodies: Sequence[bytes], now: float) -> None:
        """Pass on the bodies of ``RELAY`` frames that arrived together.

        Neighbours for one receiver leave together too.

        :param now: seconds.
        """
        for to, run in groupby(bodies, _receiver):
            self._deliver(sender, to, list(run), now)

    def _deliver(self, sender: Presence, to: bytes, bodies: list[bytes], now: float) -> None:
        address = IPv4Address(int.from_bytes(to, "big"))
        receiver = self._online.get(address)
        if receiver is None or receiver is sender or len(to) < 4:
            self.counters.dropped += len(bodies)
            if self._gone.take((sender.member.address, address), now):
                sender.send(signal.Gone(address))
            return
        source = sender.member.address.packed
        parts: list[bytes] = []
        for body in bodies:
            parts += (_header(len(body)), source, body[4:])
        data = b"".join(parts)
        if address not in self._queues and receiver.link.send_bulk(data):
            self._sent(len(bodies), data)
        else:
            self._keep(sender, address, len(bodies), data)

    def _keep(self, sender: Presence, address: IPv4Address, frames: int, data: bytes) -> None:
        queue = self._queues.get(address)
        if queue is None:
            queue = self._queues[address] = _Queue()
        if queue.size + len(data) > QUEUE:
            self.counters.dropped += frames
        else:
            queue.runs.append((frames, data))
            queue.size += len(data)
        if queue.size > HOLD_AT and sender.member.address not in queue.held:
            queue.held.add(sender.member.address)
            sender.send(signal.Hold(address))

    def resume(self, receiver: Presence) -> None:
        """The receiver's link has room, or it has a new link: send what waits for it."""
        address = receiver.member.address
        queue = self._queues.get(address)
        if queue is None:
            return
        while queue.runs and not receiver.link.paused:
            frames, data = queue.runs[0]
            if not receiver.link.send_bulk(data):
                return
            queue.runs.popleft()
            queue.size -= len(data)
            self._sent(frames, data)
        if not queue.runs and not receiver.link.paused:
            self._release(address)

    def link_changed(self, presence: Presence) -> None:
        """A member uses another link from now on, over which it begins afresh: nothing is held."""
        for queue in self._queues.values():
            queue.held.discard(presence.member.address)
        self.resume(presence)

    def left(self, presence: Presence) -> None:
        """A member is not online any more: what waits for it is lost."""
        queue = self._queues.get(presence.member.address)
        if queue is not None:
            self.counters.dropped += sum(frames for frames, _ in queue.runs)
            self._release(presence.member.address)

    def _sent(self, frames: int, data: bytes) -> None:
        self.counters.frames += frames
        self.counters.bytes += len(data)

    def _release(self, address: IPv4Address) -> None:
        for holding in self._queues.pop(address).held:
            sender = self._online.get(holding)
            if sender is not None:
                sender.send(signal.Release(address))


def _header(length: int) -> bytes:
    """What precedes a ``RELAY`` frame's body."""
    return bytes((frame.RELAY, length >> 16, length >> 8 & 255, length & 255))


def _receiver(body: bytes) -> bytes:
    """Whom a ``RELAY`` frame's body is for."""
    return body[:4]
