"""Where this machine's TCP connections seem to come from, learnt when a meeting needs it."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from tunnelmesh.errors import DecodeError, ListenError
from tunnelmesh.peer.reach.tcp_door import TcpDoor
from tunnelmesh.peer.timer import Timer
from tunnelmesh.transports.tcp import TcpPath
from tunnelmesh.transports.tcp_port import TcpPort
from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.stun_stream import StunStream

PATIENCE = 3.0
"""Seconds for the servers to answer: two tries of the kernel."""

HOLD = 20.0
"""Seconds after the last meeting that needed it during which the connections to the servers, and
with them the mapping, are kept: an attempt or two."""

VAIN = 60.0
"""Seconds until servers that TCP did not reach are asked again: where only the web is let out, that
is for good."""

SERVERS = 2
"""Servers asked: two tell whether the NAT gives one external port for both."""

_log = Logger()


class TcpReach:
    """Learns the external endpoint of a TCP port by STUN over TCP (RFC 8489 §6.2.2, RFC 6544 §5.2).

    The servers' ports are none of the web's: that they are reached says that TCP gets out.

    :param servers: gives the STUN servers' endpoints.
    :param entropy: gives that many random bytes.
    :param changed: called when :attr:`external` has changed.
    :param received: takes datagrams of anybody, as from the UDP socket.

    :ivar external: where connections from the door seem to come from, while that is known, and the
        same for all destinations.
    :ivar door: the local port that was looked at.
    """

    def __init__(
        self,
        reactor: Any,
        servers: Callable[[], Sequence[Endpoint]],
        entropy: Callable[[int], bytes],
        changed: Callable[[], None],
        received: Callable[[Sequence[bytes], TcpPath], None],
    ) -> None:
        self.external: Endpoint | None = None
        self.door: TcpDoor | None = None
        self._reactor = reactor
        self._servers = servers
        self._entropy = entropy
        self._changed = changed
        self._received = received
        self._questions: list[_Question] = []
        self._vain_until: float | None = None
        self._timer = Timer(reactor, self._expired)

    @property
    def hopeful(self) -> bool:
        """Whether TCP gets out, as far as is known."""
        return self._vain_until is None

    def refresh(self) -> None:
        """A meeting needs TCP: find out, or keep what is known."""
        now = float(self._reactor.seconds())
        if self.external is not None:
            self._timer.set(now + HOLD)
            return
        if self._questions or (self._vain_until is not None and now < self._vain_until):
            return
        servers = [each for each in self._servers() if ":" not in each.host][:SERVERS]
        if not servers:
            return
        try:
            port = TcpPort(self._reactor)
        except ListenError as error:
            _log.info("TCP is not tried: {error}", error=error)
            self._vain_until = now + VAIN
            return
        self.door = TcpDoor(self._reactor, port, self._received)
        self._questions = [_Question(self, self._entropy(stun.TRANSACTION)) for _ in servers]
        for server, question in zip(servers, self._questions, strict=True):
            port.connect(server, question, PATIENCE)
        self._timer.set(now + PATIENCE)

    def restart(self) -> None:
        """This machine's network changed: what was known means nothing."""
        known = self.external is not None
        self._vain_until = None
        self._forget()
        if known:
            self._changed()

    def stop(self) -> None:
        """Stop asking."""
        self._forget()

    def settled(self) -> None:
        """One of the servers has answered, or has failed to."""
        if self._questions and all(question.over for question in self._questions):
            self._conclude()

    def lost(self, question: _Question) -> None:
        """A server has closed its connection: the mapping goes with it."""
        if question in self._questions and self.external is not None:
            self._forget()
            self._changed()

    def _expired(self) -> None:
        if self.external is None:
            self._conclude()
        else:
            self._forget()
            self._changed()

    def _conclude(self) -> None:
        now = float(self._reactor.seconds())
        seen = {question.answer for question in self._questions if question.answer is not None}
        if len(seen) != 1:
            self._vain_until = now + VAIN
            self._forget()
            return
        self._vain_until = None
        self.external = seen.pop()
        self._timer.set(now + HOLD)
        self._changed()

    def _forget(self) -> None:
        self._timer.cancel()
        questions, self._questions = self._questions, []
        for question in questions:
            question.close()
        if self.door is not None:
            self.door.close()
        self.external = self.door = None


class _Question(ClientFactory[Protocol]):
    """A Binding request to one server.

    :ivar answer: the endpoint that the server sees.
    :ivar over: there is nothing more to wait for.
    """

    noisy = False

    def __init__(self, reach: TcpReach, transaction: bytes) -> None:
        self.answer: Endpoint | None = None
        self.over = False
        self.transaction = transaction
        self._reach = reach
        self._connector: Any = None

    def startedConnecting(self, connector: Any) -> None:
        """It is on its way."""
        self._connector = connector

    def buildProtocol(self, addr: object) -> Protocol:
        """The server is there."""
        return _Asking(self)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """It is not."""
        self.settle(None)

    def settle(self, answer: Endpoint | None) -> None:
        """The answer is there, or none will come."""
        if not self.over:
            self.over, self.answer = True, answer
            self._reach.settled()

    def lost(self) -> None:
        """The connection is gone."""
        self.settle(None)
        self._reach.lost(self)

    def close(self) -> None:
        """Let the connection go; at once, so that the port is free."""
        self.over = True
        if self._connector is not None:
            if self._connector.state == "connected":
                self._connector.transport.abortConnection()
            else:
                self._connector.disconnect()


class _Asking(Protocol):
    transport: Any

    def __init__(self, question: _Question) -> None:
        self._question = question
        self._stream = StunStream()

    def connectionMade(self) -> None:
        request = stun.Message(stun.Class.REQUEST, self._question.transaction)
        self.transport.write(stun.encode(request))

    def dataReceived(self, data: bytes) -> None:
        try:
            for each in self._stream.receive(data):
                message = stun.decode(each)
                if message.transaction == self._question.transaction:
                    self._question.settle(message.mapped)
        except DecodeError:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._question.lost()
