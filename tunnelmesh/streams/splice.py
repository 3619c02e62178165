"""Two connections made one: what comes in by the one goes out by the other."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


def splice(first: Any, second: Any) -> None:
    """Join two transports.

    Whoever reads slowly holds back the other side's writer. The end of what one side sends becomes
    the end of what the other receives, while the opposite direction goes on. An aborted connection
    aborts the other.

    :param first: a connected transport, TCP's or a stream's; its protocol is replaced.
    :param second: another.
    """
    one, other = _Half(), _Half()
    one.other, other.other = other, one
    for half, transport in ((one, first), (other, second)):
        transport.protocol = half
        half.makeConnection(transport)
        if ITCPTransport.providedBy(transport) and hasattr(transport.getHost(), "port"):
            transport.setTcpNoDelay(True)
    first.registerProducer(other, True)
    second.registerProducer(one, True)
    first.resumeProducing()
    second.resumeProducing()


@implementer(IHalfCloseableProtocol, IPushProducer)
class _Half(Protocol):
    """One of the two connections; for the other one, the producer of what goes out by it.

    :ivar other: the other one.
    :ivar ended: whether nothing more comes in.
    :ivar deaf: whether nothing more can go out.
    """

    transport: Any
    other: _Half
    ended = False
    deaf = False
    gone = False

    def dataReceived(self, data: bytes) -> None:
        """Pass on what has come in."""
        self.other.transport.write(data)

    def readConnectionLost(self) -> None:
        """Pass on that no more comes."""
        self.ended = True
        if self.other.gone:
            return
        self.other.transport.unregisterProducer()
        self.other.transport.loseWriteConnection()
        if self.other.ended or self.deaf:
            self._close()

    def writeConnectionLost(self) -> None:
        """Nothing more goes out, but what has been sent here may still be on its way."""
        self.deaf = True
        if self.ended:
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass on that it is over."""
        self.gone = True
        if self.other.gone:
            return
        self.other.transport.unregisterProducer()
        if reason.check(ConnectionDone):
            self.other.transport.loseConnection()
        else:
            self.other.transport.abortConnection()

    def pauseProducing(self) -> None:
        """The other one's buffer is full."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """There is room again."""
        if not (self.ended or self.gone):
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The other one is gone, as :meth:`connectionLost` is about to say."""

    def _close(self) -> None:
        for half in (self, self.other):
            if not half.gone:
                half.transport.loseConnection()
