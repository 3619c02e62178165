"""Opening a stream to a port of a peer, as a Twisted endpoint."""

# Twisted is partly without annotations.
# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tunnelmesh.errors import NotAllowedError, StreamError, StreamTimeoutError, TunnelMeshError
from tunnelmesh.wire.opening import Answer, Request, Status

if TYPE_CHECKING:
    from tunnelmesh.streams.transport import StreamTransport

SECONDS = 3.0
"""Seconds until an answer must have come."""


@implementer(IStreamClientEndpoint)
class StreamEndpoint:
    """A TCP port of a peer.

    :param open_stream: opens a stream that begins with what it is given, to a peer whose name it
        returns too; raises a TunnelMeshError if that cannot be.
    :param first: bytes that the service is to get at once, before this side hears that it is there:
        saves a round trip.
    """

    def __init__(
        self,
        reactor: Any,
        open_stream: Callable[[bytes], tuple[str, StreamTransport]],
        port: int,
        first: bytes = b"",
    ) -> None:
        self._reactor = reactor
        self._open_stream = open_stream
        self._port = port
        self._first = first

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; see :meth:`.IStreams.endpoint`."""
        opening = _Opening(self._reactor, protocolFactory, self._port)
        try:
            opening.start(self._open_stream, self._first)
        except TunnelMeshError:
            opening.opened.errback()
        return opening.opened


class _Opening(Protocol):
    """A stream that awaits the other side's answer."""

    transport: Any

    def __init__(self, reactor: Any, factory: IProtocolFactory, port: int) -> None:
        self.opened: Deferred[IProtocol] = Deferred(lambda _: self._give_up())
        self._settled = False
        self._reactor = reactor
        self._factory = factory
        self._port = port
        self._peer = ""
        self._data = bytearray()
        self._late: Any = None

    def start(
        self, open_stream: Callable[[bytes], tuple[str, StreamTransport]], first: bytes
    ) -> None:
        """Ask for the port."""
        request = Request(self._port).encode()
        self._peer, transport = open_stream(request + first)
        self._late = self._reactor.callLater(SECONDS, self._is_late)
        transport.begin(self)

    def dataReceived(self, data: bytes) -> None:
        """See what the other side says."""
        self._data += data
        decoded = Answer.decode(self._data)
        if decoded is None:
            return
        answer, size = decoded
        if answer.status != Status.OPEN:
            kind = NotAllowedError if answer.status == Status.NOT_ALLOWED else StreamError
            self._fail(kind(_reason(answer, self._peer, self._port)))
            return
        protocol = self._factory.buildProtocol(self.transport.getPeer())
        if protocol is None:
            self.opened.cancel()
            return
        self._settled = True
        self._late.cancel()
        self.transport.begin(protocol, bytes(self._data[size:]))
        self.opened.callback(protocol)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream ended without an answer."""
        why = "" if reason.check(ConnectionDone) else f": {reason.value}"
        self._fail(StreamError(f"{self._peer} ended the stream to its port {self._port}{why}"))

    def _is_late(self) -> None:
        self._fail(
            StreamTimeoutError(
                f"{self._peer} does not answer within {SECONDS:.0f} s: see "
                f"'tunnelmesh ping {self._peer}'; older versions have no streams"
            )
        )

    def _fail(self, error: TunnelMeshError) -> None:
        if not self._settled:
            self._give_up()
            self.opened.errback(error)

    def _give_up(self) -> None:
        self._settled = True
        if self._late.active():
            self._late.cancel()
        self.transport.abortConnection()


def _reason(answer: Answer, peer: str, port: int) -> str:
    """Why a stream was not opened, for people."""
    match answer.status:
        case Status.NOBODY_LISTENS:
            return f"nothing answers on port {port} of {peer}: {answer.shown}"
        case Status.NOT_ALLOWED:
            return f"the mesh's access rules do not let this machine connect to {peer} port {port}"
        case Status.NOT_EXPOSED:
            return (
                f"{peer} does not open its port {port} to the mesh: it would with --expose={port}"
            )
        case Status.BUSY:
            return f"{peer} has too many streams open already"
    return f"{peer} refuses: {answer.shown or answer.status}"
