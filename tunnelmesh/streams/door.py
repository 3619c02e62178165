"""Where the kernel hands over connections that programs make to peers without a device; each is
joined to the stream that was opened for it before."""

# Twisted is partly without annotations.
# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tunnelmesh.streams.splice import splice


class Door(Factory):
    """Takes up the connections that programs make to peers without a device; others are closed.

    :param find: the stream for a connection from an address and port.
    """

    noisy = False

    def __init__(self, find: Callable[[str, int], Held | None]) -> None:
        self._find = find

    def buildProtocol(self, addr: Any) -> Protocol | None:
        """A program's connection has come in, or a stranger's."""
        held = self._find(addr.host, addr.port)
        return None if held is None else _Taken(held)


class _Taken(Protocol):
    """A program's connection, for the moment until it is joined to its stream."""

    transport: Any

    def __init__(self, held: Held) -> None:
        self._held = held

    def connectionMade(self) -> None:
        """Join it."""
        self._held.join(self.transport)


@implementer(IHalfCloseableProtocol)
class Held(Protocol):
    """A stream, until the kernel has taken up the connection that it is to be joined to."""

    transport: Any
    _ended = False
    _lost: Failure | None = None

    def connectionMade(self) -> None:
        """Read nothing yet."""
        self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """The other side has sent all, which was nothing."""
        self._ended = True

    def writeConnectionLost(self) -> None:
        """The other side reads nothing; what it sends still counts."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream is over already."""
        self._lost = reason

    def join(self, local: Any) -> None:
        """Join the stream to the program's connection."""
        if self._lost is None:
            splice(local, self.transport)
            if self._ended:
                self.transport.protocol.readConnectionLost()
        elif self._lost.check(ConnectionDone):
            local.loseConnection()
        else:
            local.abortConnection()
