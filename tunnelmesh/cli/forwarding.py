"""One connection to a port of this machine that leads to a port of a peer."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tunnelmesh.errors import DecodeError, NotRunningError, StreamError, TunnelMeshError
from tunnelmesh.streams.splice import splice
from tunnelmesh.wire.http import Answer, Collecting


class Forwarding(Protocol):
    """A program's connection.

    :param path: the streams' socket of the running service.
    :param failed: told why a connection could not be made.
    """

    transport: Any

    def __init__(
        self,
        reactor: Any,
        path: Path,
        peer: str,
        port: int,
        failed: Callable[[TunnelMeshError], None],
    ) -> None:
        self._endpoint = UNIXClientEndpoint(reactor, str(path))
        self._question = f"CONNECT {f'[{peer}]' if ':' in peer else peer}:{port} HTTP/1.1\r\n\r\n"
        self._failed = failed
        self._work: Deferred[None] | None = None

    def connectionMade(self) -> None:
        """Open a stream for it."""
        self.transport.pauseProducing()
        self._work = Deferred.fromCoroutine(self._open())
        self._work.addErrback(lambda failure: failure.trap(CancelledError))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has gone before there was one."""
        if self._work is not None:
            self._work.cancel()

    async def _open(self) -> None:
        asking = _Asking(self._question.encode())
        try:
            try:
                await self._endpoint.connect(Factory.forProtocol(lambda: asking))
            except Exception:
                raise NotRunningError("no TunnelMesh peer is running any more") from None
            rest = await asking.answered
        except TunnelMeshError as error:
            self._work = None
            self._failed(error)
            self.transport.abortConnection()
            return
        self._work = None
        self.transport.write(rest)
        splice(self.transport, asking.transport)


class _Asking(Protocol):
    """A connection to the service, until it is the stream.

    :ivar answered: fires with what came after the answer, or fails with what it says.
    """

    transport: Any

    def __init__(self, question: bytes) -> None:
        self.answered: Deferred[bytes] = Deferred(lambda _: self.transport.abortConnection())
        self._question = question
        self._collecting: Collecting | None = Collecting()
        self._text = b""

    def connectionMade(self) -> None:
        """Ask."""
        self.transport.write(self._question)

    def dataReceived(self, data: bytes) -> None:
        """Read the answer; one that says no ends with the connection."""
        if self._collecting is None:
            self._text += data
            return
        try:
            found = self._collecting.receive(data)
            if found is None:
                return
            self._collecting, answer = None, Answer.decode(found[0])
        except DecodeError as error:
            self._fail(f"the service does not answer properly: {error}")
            return
        if answer.status == 200:
            self.transport.pauseProducing()
            self.answered.callback(found[1])
        else:
            self._text = found[1]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has said all."""
        text = " ".join(self._text.decode("utf-8", "replace").split())
        self._fail(text or "the service ended before it answered")

    def _fail(self, text: str) -> None:
        if not self.answered.called:
            self.answered.errback(StreamError(text))
            self.transport.abortConnection()
