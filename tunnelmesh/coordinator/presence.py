"""Who is online, and over which links."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from zope.interface import Interface

from tunnelmesh.coordinator.store import Member
from tunnelmesh.interfaces import ILink
from tunnelmesh.wire import signal

UNMEASURED = 0.1
"""Round trip in seconds that is assumed until a first pong: a continent."""

SAMPLES = 4
"""Round trips that are looked back on. The shortest of them counts: what is above it was spent in
queues and busy programs, not on the way."""


@dataclass(eq=False, slots=True)
class Line:
    """One link of a member who has signed in.

    :ivar samples: its last round trips in seconds.
    """

    link: ILink
    samples: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))


@dataclass(eq=False, slots=True)
class Presence:
    """A member who is online.

    :ivar lines: its links, the oldest first, but for the one in use, which is the last: the first
        that there was, or the one on which the member last described itself.
    :ivar description: what it last said of its network.
    """

    member: Member
    lines: list[Line] = field(default_factory=list)
    description: signal.Describe | None = None

    @property
    def link(self) -> ILink:
        """The link to send by."""
        return self.lines[-1].link

    @property
    def rtt(self) -> float:
        """The round trip of that link in seconds, as far as it is known."""
        return min(self.lines[-1].samples, default=UNMEASURED)

    def send(self, message: signal.Signal) -> None:
        """Send it a message."""
        self.link.send(signal.encode(message))


class IAttendant(Interface):
    """Somebody at the coordinator who deals with members, beside the signalling itself."""

    def arrived(presence: Presence) -> None:
        """A member has signed in, on its first link or another, and was told Welcome by it.

        The link in use is another one until the member has described itself.
        """

    def told(presence: Presence, message: signal.Signal) -> bool:
        """A member sent a message.

        :returns: whether it was for this attendant.
        :raises SignalError: if the member must not say that; its link is closed.
        """

    def left(presence: Presence) -> None:
        """A member is offline."""
