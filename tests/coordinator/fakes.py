"""Links in memory."""

from __future__ import annotations

from ipaddress import IPv4Address

from zope.interface import implementer

from tunnelmesh.coordinator.presence import Line, Presence
from tunnelmesh.coordinator.store import Member
from tunnelmesh.interfaces import ILink
from tunnelmesh.wire import frame, signal


@implementer(ILink)
class FakeLink:
    """The coordinator's end of a link that goes nowhere, and remembers what was sent.

    :ivar signals: messages sent, decoded; *bulk*: (kind, body) of frames sent as bulk.
    :ivar room: bytes of bulk that it takes before it is paused, or None for any number.
    :ivar closed: why it was closed, or None.
    """

    proxy = None

    def __init__(self, kind: str = "websocket", key: bytes | None = None) -> None:
        self.kind = kind
        self.remote = "192.0.2.1:4711"
        self.key = key
        self.paused = False
        self.room: int | None = None
        self.closed: str | None = None
        self.signals: list[signal.Signal] = []
        self.bulk: list[tuple[int, bytes]] = []

    def send(self, frames: bytes) -> None:
        """Decode and remember."""
        for kind, body in frame.FrameDecoder().receive(frames):
            assert kind == frame.SIGNAL
            message = signal.decode(body)
            assert message is not None
            self.signals.append(message)

    def send_bulk(self, frames: bytes) -> bool:
        """Remember, and be paused when it was too much."""
        if self.paused or self.closed is not None:
            return False
        self.bulk += frame.FrameDecoder().receive(frames)
        if self.room is not None:
            self.room -= len(frames)
            self.paused = self.room <= 0
        return True

    def close(self, reason: str) -> None:
        """Remember why."""
        self.closed = self.closed or reason

    def pauseProducing(self) -> None:
        """Nothing arrives here anyway."""

    resumeProducing = pauseProducing
    stopProducing = pauseProducing

    def take(self, cls: type[signal.Signal] | None = None) -> list[signal.Signal]:
        """The messages sent since the last call, those of *cls* only if given."""
        taken, self.signals = self.signals, []
        return [message for message in taken if cls is None or isinstance(message, cls)]


def member(number: int) -> Member:
    """The member with that number: ``m1`` at 100.96.0.1, and so on."""
    address = IPv4Address("100.96.0.0") + number
    return Member(f"m{number}", number.to_bytes(32, "big"), address, 0)


def present(number: int, rtt: float | None = None) -> tuple[Presence, FakeLink]:
    """That member, online over a link with that round trip."""
    link = FakeLink()
    line = Line(link)
    if rtt is not None:
        line.samples.append(rtt)
    return Presence(member(number), [line]), link
