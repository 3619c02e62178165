"""A stream as a Twisted protocol sees it: a transport like TCP's, with half-close both ways."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from tunnelmesh.wire.opening import printable

if TYPE_CHECKING:
    from tunnelmesh.streams.connection import Connection

HIGH = 256 * 1024
LOW = 128 * 1024
"""Bytes not yet sent at which a stream's producer is paused and resumed: more than is sent between
two turns."""


@implementer(IAddress)
@dataclass(frozen=True)
class StreamAddress:
    """One end of a stream.

    :ivar host: a peer's name.
    :ivar port: of the other end, as it was asked for; 0 for the end that asked.
    """

    host: str
    port: int


@implementer(ITransport, IConsumer, IPushProducer)
class StreamTransport:
    """One end of a stream.

    :ivar protocol: who reads it. Nothing is read until there is one.
    :ivar host: this end's address; *peer*: the other one's.
    """

    disconnecting = False

    def __init__(self, connection: Connection, stream: int) -> None:
        self.protocol: IProtocol | None = None
        self.host = self.peer = StreamAddress("", 0)
        self.connected = True
        self._connection = connection
        self._stream = stream
        self._unread: list[bytes] = []
        self._taken = 0
        self._paused = False
        self._delivering = False
        self._fin_received = self._fin_told = False
        self._fin_sent = self._half_closing = self._stopped = False
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False

    # ITransport

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if not self.connected or self._fin_sent or self._stopped or not data:
            return
        connection = self._connection
        connection.quic.write(self._stream, bytes(data))
        connection.wake()
        if self._producer is None or not self._streaming or self._producer_paused:
            return
        if connection.quic.unsent(self._stream) > HIGH:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send bytes."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close the stream when all that was written, also by the producer, is on its way."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            self._finish()

    def loseWriteConnection(self) -> None:
        """Tell the other side that nothing more will be written."""
        if self.connected:
            self._half_closing = True
            self._finish()

    def abortConnection(self) -> None:
        """End the stream at once; what is on its way may be lost."""
        if self.connected:
            self._forsake()
            self._end(Failure(ConnectionAborted()))

    def getPeer(self) -> StreamAddress:
        """The other end."""
        return self.peer

    def getHost(self) -> StreamAddress:
        """This end."""
        return self.host

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take what *producer* writes, and pause it while too much of that is unsent."""
        if self._producer is not None:
            raise RuntimeError("there is a producer already")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._producer_paused = False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """The producer has written all."""
        self._producer = None
        if self.connected:
            self._finish()

    # IPushProducer

    def pauseProducing(self) -> None:
        """Deliver nothing for now; the other side is held back soon."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Deliver again, what has been held back first."""
        self._paused = False
        self.deliver()

    def stopProducing(self) -> None:
        """As :meth:`loseConnection`."""
        self.loseConnection()

    # For the connection.

    def received(self, data: bytes, fin: bool) -> None:
        """The other side sent bytes, and perhaps its last ones."""
        if data:
            self._unread.append(data)
        self._fin_received = self._fin_received or fin

    def sent(self) -> None:
        """Something was sent: there may be room for more."""
        producer = self._producer
        if producer is None or (self._streaming and not self._producer_paused):
            return
        if self._connection.quic.unsent(self._stream) < LOW:
            self._producer_paused = False
            producer.resumeProducing()

    def reset(self) -> None:
        """The other side aborted the stream."""
        self._forsake()
        self._end(Failure(ConnectionLost("the other side aborted the stream")))

    def stopped(self) -> None:
        """The other side does not read any more."""
        self._stopped = True
        if self._fin_told or self.disconnecting:
            self._end(Failure(ConnectionDone()))
            return
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is not None:
            protocol.writeConnectionLost()

    def lost(self, reason: str) -> None:
        """The connection is gone; the reason may be the other side's words."""
        self._end(Failure(ConnectionLost(printable(reason))))

    # What follows.

    def begin(self, protocol: IProtocol, rest: bytes = b"") -> None:
        """From now on, *protocol* reads the stream.

        :param rest: what the one before it has read and is for this one.
        """
        self.protocol = protocol
        if rest:
            self._unread.insert(0, rest)
            self._taken -= len(rest)
        protocol.makeConnection(self)
        self.deliver()

    def deliver(self) -> None:
        """Hand over what has arrived, if it is wanted."""
        if self._delivering:
            return  # by resumeProducing, out of dataReceived
        self._delivering = True
        try:
            while self._unread and not self._paused and self.connected:
                if self.protocol is None:
                    return
                data, self._unread = b"".join(self._unread), []
                self._taken += len(data)
                self._connection.taken(self._stream, self._taken)
                self.protocol.dataReceived(data)
        finally:
            self._delivering = False
        if self._fin_received and not (self._unread or self._fin_told):
            self._tell_fin()

    def _tell_fin(self) -> None:
        if not self.connected or self.protocol is None:
            return
        self._fin_told = True
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is None:
            self.loseConnection()
            return
        protocol.readConnectionLost()
        if self._stopped:
            self._end(Failure(ConnectionDone()))

    def _finish(self) -> None:
        """Say that there is no more to come, if it is so."""
        if self._producer is not None:
            return
        if (self.disconnecting or self._half_closing) and not (self._fin_sent or self._stopped):
            self._fin_sent = True
            self._connection.quic.write(self._stream, b"", fin=True)
            self._connection.wake()
        if self.disconnecting:
            if not self._fin_received:
                self._connection.quic.stop(self._stream)
            self._end(Failure(ConnectionDone()))

    def _forsake(self) -> None:
        quic = self._connection.quic
        quic.reset(self._stream)
        quic.stop(self._stream)
        self._connection.wake()

    def _end(self, reason: Failure) -> None:
        if not self.connected:
            return
        self.connected = False
        self._unread.clear()
        self._connection.ended(self._stream)
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        if self.protocol is not None:
            self.protocol.connectionLost(reason)
