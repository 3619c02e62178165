"""Two associations with a line between them that loses, repeats and reorders, under one clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from tunnelmesh.streams.association import Association
from tunnelmesh.wire import control


class Line:
    """What carries one side's messages to the other.

    :param delay: seconds; each message may take up to *jitter* more, so that they change places.
    :param loss: share of messages lost; *repeat*: share that arrive twice.
    :param rate: bytes a second that it carries; None for any.
    """

    def __init__(
        self,
        clock: Clock,
        delay: float = 0.02,
        jitter: float = 0.0,
        loss: float = 0.0,
        repeat: float = 0.0,
        rate: float | None = None,
    ) -> None:
        self.clock = clock
        self.delay = delay
        self.jitter = jitter
        self.loss = loss
        self.repeat = repeat
        self.rate = rate
        self.cut = False
        self.messages = 0
        self.free_at = 0.0
        self.random = Random(1)

    def carry(self, messages: Sequence[bytes], deliver: Callable[[bytes], None]) -> None:
        """Send some."""
        for message in messages:
            self.messages += 1
            if self.cut or self.random.random() < self.loss:
                continue
            delay = self.delay + self.random.random() * self.jitter
            if self.rate is not None:
                now = self.clock.seconds()
                self.free_at = max(self.free_at, now) + len(message) / self.rate
                if self.free_at - now > 0.1:  # the router's queue is full
                    self.free_at -= len(message) / self.rate
                    continue
                delay += self.free_at - now
            for _ in range(1 + (self.random.random() < self.repeat)):
                self.clock.callLater(delay, deliver, message)


class Pair:
    """Two peers' associations.

    :ivar here: one, *there*: the other.
    :ivar accepted: what each side was opened, as transports.
    """

    def __init__(self, room: tuple[int, int] = (1420, 1420), **line: Any) -> None:
        self.clock = Clock()
        self.room = room
        self.line = Line(self.clock, **line)
        self.accepted: list[Any] = []
        self.accept: Callable[[Any], None] = self.accepted.append
        self.here = self.association()
        self.there = self.association(first=False)

    def association(self, first: bool = True) -> Association:
        """A new one, for one side."""

        def send(messages: Sequence[bytes]) -> None:
            self.line.carry(messages, lambda message: self._deliver(first, message))

        return Association(
            self.clock, send, lambda: self.room, lambda transport: self.accept(transport)
        )

    def _deliver(self, from_here: bool, message: bytes) -> None:
        decoded = control.decode(message)
        assert isinstance(decoded, control.Stream)
        (self.there if from_here else self.here).received(decoded)

    def until(self, condition: Callable[[], object], seconds: float = 60.0) -> float:
        """Let time pass until something is so.

        :returns: how much has passed.
        """
        started = self.clock.seconds()
        while not condition():
            passed = self.clock.seconds() - started
            assert passed < seconds, f"not within {seconds} s"
            self.step()
        return float(self.clock.seconds() - started)

    def step(self) -> None:
        """Let time pass until the next thing happens."""
        calls = self.clock.getDelayedCalls()
        at = min((call.getTime() for call in calls), default=self.clock.seconds() + 1)
        self.clock.advance(max(0.0, at - self.clock.seconds()))

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.clock.seconds() + seconds
        while (calls := self.clock.getDelayedCalls()) and calls[0].getTime() <= end:
            self.step()
        self.clock.advance(max(0.0, end - self.clock.seconds()))


@implementer(IHalfCloseableProtocol)
class Reader(Protocol):
    """Keeps what comes in.

    :ivar data: that.
    :ivar ended: whether the other side has ended its half.
    :ivar lost: why the stream is gone.
    """

    transport: Any

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False
        self.deaf = False
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def readConnectionLost(self) -> None:
        self.ended = True

    def writeConnectionLost(self) -> None:
        self.deaf = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


def reader(transport: Any) -> Reader:
    """Read a transport."""
    protocol = Reader()
    transport.begin(protocol)
    return protocol
