"""STUN over TCP (RFC 8489 §6.2.2), for peers whose UDP is blocked: what their NAT does with TCP.

A client may leave its connection open for a while, since that keeps the mapping that it asked about
(RFC 6544 §5.2); not for long, and few from one place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tunnelmesh.errors import DecodeError
from tunnelmesh.transports.strangers import Strangers
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.stun_stream import StunStream

LIFETIME = 60.0
"""Seconds that a connection may last: what a client attempts with the mapping takes a third."""

Answer = Callable[[bytes, Endpoint, Endpoint], bytes | None]
"""What to send for a message, with the client's endpoint and the server's; or nothing."""


class StunFactory(Factory[Any]):
    """Listens.

    :param answer: answers a message.

    :ivar strangers: who is connected.
    """

    noisy = False

    def __init__(self, reactor: Any, answer: Answer) -> None:
        self.reactor = reactor
        self.answer = answer
        self.strangers = Strangers()

    def buildProtocol(self, addr: IAddress | None) -> _StunConnection | None:
        """Take a connection, unless too many are open already."""
        return _StunConnection(self, addr) if self.strangers.admits(addr) else None


class _StunConnection(Protocol):
    transport: Any

    def __init__(self, factory: StunFactory, address: IAddress | None) -> None:
        self._stun = factory
        self._address = address
        self._stream = StunStream()
        self._end: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """A client is there."""
        self._stun.strangers.add(self, self._address)
        self._end = self._stun.reactor.callLater(LIFETIME, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        """Answer what is whole; who sends anything else is sent away, and so is who may not ask."""
        here, there = self.transport.getHost(), self.transport.getPeer()
        source, local = Endpoint(there.host, there.port), Endpoint(here.host, here.port)
        try:
            messages = self._stream.receive(data)
        except DecodeError:
            self.transport.abortConnection()
            return
        for message in messages:
            answer = self._stun.answer(message, source, local)
            if answer is None:
                self.transport.abortConnection()
                return
            self.transport.write(answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone."""
        self._stun.strangers.settled(self)
        if self._end is not None and self._end.active():
            self._end.cancel()
