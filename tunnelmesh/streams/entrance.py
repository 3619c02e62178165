"""Where programs of this machine come in, to be connected to peers."""

# Twisted is partly without annotations.
# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from tunnelmesh.interfaces import IStreams
from tunnelmesh.streams.door import Held

MAX_CLIENTS = 512
"""Connections at once: a browser opens a few dozen to a proxy, and most systems let a process have
1,024 descriptors."""

PATIENCE = 10.0
"""Seconds for a program to say where it wants to be connected to. Browsers open connections ahead
of need, and give them up themselves after that time."""

_log = Logger()


class Client(Protocol):
    """A connection of a program on this machine, until it is joined to a stream.

    :param reactor: the clock.
    :param streams: where it can be connected to.
    """

    transport: Any
    factory: Any

    def __init__(self, reactor: Any, streams: IStreams) -> None:
        self.streams = streams
        self._reactor = reactor
        self._late: Any = None
        self._work: Deferred[None] | None = None

    def connectionMade(self) -> None:
        """It begins, and has some time to say what it wants."""
        self.factory.clients.add(self)
        self.transport.setTcpNoDelay(True)
        self.hurry()

    def hurry(self) -> None:
        """Give it so much time until the next step."""
        self._in_time()
        self._late = self._reactor.callLater(PATIENCE, self.transport.abortConnection)

    def do(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        """Do what takes a while, unless it goes away; nothing is read from it meanwhile."""
        self._in_time()
        self.transport.pauseProducing()
        self._work = Deferred.fromCoroutine(work)
        self._work.addErrback(self._failed)

    async def open(self, host: str, port: int, reader: Protocol, first: bytes = b"") -> None:
        """Open a stream.

        :param reader: the protocol that reads it.
        :param first: what the other side gets at once.
        :raises TunnelMeshError: if that cannot be.
        """
        await self.streams.endpoint(host, port, first).connect(_Once(reader))

    async def join(self, host: str, port: int, answer: bytes, rest: bytes) -> None:
        """Open a stream, and become one with it.

        :param answer: what the program is told then.
        :param rest: what it has said already that is for the other side.
        :raises TunnelMeshError: if that cannot be.
        """
        held = Held()
        await self.open(host, port, held, rest)
        self.transport.write(answer)
        held.join(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has gone."""
        self.factory.clients.discard(self)
        self._in_time()
        if self._work is not None:
            self._work.cancel()

    def _in_time(self) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("a stream cannot be opened", failure)
            self.transport.abortConnection()


class _Once(Factory):
    """Makes one protocol."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Here it is."""
        return self._protocol


class Entrance(Factory):
    """Lets programs in, a limited number at once.

    :param client: makes the protocol of one.
    """

    noisy = False

    def __init__(self, client: Callable[[], Client]) -> None:
        self.clients: set[Client] = set()
        self._client = client

    def buildProtocol(self, addr: IAddress | None) -> Client | None:
        """Let one in, or none: the connection is closed then."""
        # Those that have been joined to a stream have another protocol, and leave unseen.
        self.clients = {each for each in self.clients if each.transport.connected}
        if len(self.clients) >= MAX_CLIENTS:
            return None
        client = self._client()
        client.factory = self
        return client

    def close(self) -> None:
        """Send everybody away."""
        for client in list(self.clients):
            client.transport.abortConnection()
