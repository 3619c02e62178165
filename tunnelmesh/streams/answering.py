"""Answering streams that a remote peer opens: each becomes a connection to a service here."""

# Twisted is partly without annotations.
# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from tunnelmesh.errors import DecodeError
from tunnelmesh.streams.splice import splice
from tunnelmesh.wire.opening import REQUEST_SIZE, Answer, Request, Status

if TYPE_CHECKING:
    from tunnelmesh.streams.transport import StreamTransport

HALF_OPEN = 32
"""Connections to services here that one remote peer may have on their way at a time; further ones
wait. A service on this machine takes a connection at once."""

PATIENCE = 10.0
"""Seconds for a remote peer to say which port it wants."""

CONNECT = 2.5
"""Seconds for a service to take the connection: the opener waits for three."""

_log = Logger()


class Answering:
    """Answers the streams of one remote peer.

    :param target: where a port of this machine leads; None if it is not open to the mesh.
    :param allowed: whether the remote peer may connect to a port.
    :param counts: counts streams by what became of them.
    """

    def __init__(
        self,
        reactor: Any,
        target: Callable[[int], IStreamClientEndpoint | None],
        allowed: Callable[[int], bool],
        counts: Counter[str],
    ) -> None:
        self.reactor = reactor
        self.target = target
        self.allowed = allowed
        self.counts = counts
        self.connecting = DeferredSemaphore(HALF_OPEN)

    def incoming(self, transport: StreamTransport) -> None:
        """The remote peer has opened a stream."""
        transport.begin(_Asking(self))


class _Connecting(Factory[Protocol]):
    """Writes no line to the log for each connection, as factories do."""

    noisy = False


class _Asking(Protocol):
    """A stream whose opener is still to say what it wants, or waits for that."""

    transport: Any

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._data = bytearray()
        self._late: Any = None
        self._work: Deferred[None] | None = None

    def connectionMade(self) -> None:
        """It has some time to ask."""
        self._late = self._answering.reactor.callLater(PATIENCE, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        """See what it asks for."""
        self._data += data
        try:
            request = Request.decode(self._data)
        except DecodeError as error:
            self._refuse(Answer(Status.REFUSED, str(error)))
            return
        if request is not None:
            self._late.cancel()
            self.transport.pauseProducing()
            self._work = Deferred.fromCoroutine(self._connect(request.port))
            self._work.addErrback(self._failed)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It does not want it any more."""
        if self._late.active():
            self._late.cancel()
        if self._work is not None:
            self._work.cancel()

    async def _connect(self, port: int) -> None:
        answering = self._answering
        if not answering.allowed(port):
            self._refuse(Answer(Status.NOT_ALLOWED))
            return
        target = answering.target(port)
        if target is None:
            self._refuse(Answer(Status.NOT_EXPOSED))
            return
        try:
            service: Any = await answering.connecting.run(
                target.connect, _Connecting.forProtocol(Protocol)
            )
        except ConnectionRefusedError:
            self._refuse(Answer(Status.NOBODY_LISTENS, "connection refused"))
            return
        except DNSLookupError:
            self._refuse(Answer(Status.NOBODY_LISTENS, "its host is not found"))
            return
        except ConnectError as error:
            self._refuse(Answer(Status.NOBODY_LISTENS, str(error)))
            return
        answering.counts["answered"] += 1
        self._work = None
        self.transport.write(Answer(Status.OPEN).encode())
        self.transport.begin(Protocol(), bytes(self._data[REQUEST_SIZE:]))
        splice(self.transport, service.transport)

    def _refuse(self, answer: Answer) -> None:
        self._answering.counts["refused"] += 1
        self._work = None
        self.transport.write(answer.encode())
        self.transport.loseConnection()

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("a stream cannot be answered", failure)
            self.transport.abortConnection()
