"""A simulated machine whose own TCP ports stand for those of peers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tunnelmesh.errors import (
    NotAllowedError,
    OfflineError,
    StreamError,
    StreamTimeoutError,
    UnknownPeerError,
)
from tunnelmesh.interfaces import IStreams
from tunnelmesh.lab.sim import Internet

LOOPBACK = "127.0.0.1"


@implementer(IStreamClientEndpoint)
class Failing:
    """An endpoint that leads nowhere."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Fail."""
        return fail(self._error)


@implementer(IStreamClientEndpoint)
class Saying:
    """An endpoint whose connections begin with something."""

    def __init__(self, endpoint: IStreamClientEndpoint, first: bytes) -> None:
        self._endpoint = endpoint
        self._first = first

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Connect."""
        return self._endpoint.connect(protocolFactory).addCallback(self._say)

    def _say(self, protocol: Any) -> Any:
        protocol.transport.write(self._first)
        return protocol


@implementer(IStreamClientEndpoint)
class Never:
    """An endpoint that takes its time.

    :ivar given_up: whether somebody stopped waiting.
    """

    def __init__(self) -> None:
        self.given_up = False

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Wait."""

        def given_up(_: object) -> None:
            self.given_up = True

        return Deferred(given_up)


@implementer(IStreams)
class LoopbackStreams:
    """``homelab`` is this machine; ``robot`` is away, and ``slow`` never answers."""

    def __init__(self, reactor: Any) -> None:
        self.never = Never()
        self.asked: list[tuple[str, int]] = []
        self._reactor = reactor

    def endpoint(self, host: str, port: int, first: bytes = b"") -> IStreamClientEndpoint:
        """Where a port of a peer is reached."""
        self.asked.append((host, port))
        plain = host.removesuffix(".mesh")
        if plain in ("homelab", "100.96.0.2", "fd74:6d6d:6573::2"):
            if port == 9:
                return Failing(StreamError("homelab: nobody listens on port 9"))
            if port == 10:
                return Failing(NotAllowedError("the access rules do not let this machine"))
            return Saying(TCP4ClientEndpoint(self._reactor, LOOPBACK, port), first)
        if plain == "slow":
            return self.never
        if plain == "late":
            return Failing(StreamTimeoutError("late does not answer"))
        if plain == "robot":
            return Failing(OfflineError("robot has been offline for 3 minutes"))
        return Failing(UnknownPeerError(f"there is no peer {host!r} in the mesh"))


@implementer(IHalfCloseableProtocol)
class Talk(Protocol):
    """One end of a connection, which remembers what it heard."""

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.ended = False
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """More was said."""
        self.heard += data

    def readConnectionLost(self) -> None:
        """The other end says no more."""
        self.ended = True

    def writeConnectionLost(self) -> None:
        """The other end was told that this one says no more."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        self.lost = reason


class Listening(Factory[Talk]):
    """A server.

    :ivar made: its connections.
    """

    noisy = False

    def __init__(self) -> None:
        self.made: list[Talk] = []

    def buildProtocol(self, addr: object) -> Talk:
        """Take a connection."""
        self.made.append(Talk())
        return self.made[-1]


class LoopbackTestCase(SynchronousTestCase):
    """A machine with a server on port 80, and its mesh."""

    def setUp(self) -> None:
        self.internet = Internet(seed=3)
        self.machine = self.internet.host("203.0.113.5", name="laptop")
        self.streams = LoopbackStreams(self.machine)
        self.server = Listening()
        self.machine.listenTCP(80, self.server, interface=LOOPBACK)

    def connect(self, port: int) -> Talk:
        """Connect to a port of the machine."""
        talk = Talk()
        opening = TCP4ClientEndpoint(self.machine, LOOPBACK, port).connect(
            Factory.forProtocol(lambda: talk)
        )
        self.until(lambda: opening.called)
        self.successResultOf(opening)
        return talk

    def until(self, condition: Any, limit: float = 20.0) -> None:
        """Let simulated time pass until something is so."""
        self.internet.run_until(condition, limit)

    def run_for(self, seconds: float) -> None:
        """Let simulated time pass."""
        self.internet.run(seconds)
