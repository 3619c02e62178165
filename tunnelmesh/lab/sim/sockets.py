"""A machine's TCP: who listens, who is connected, and which segment belongs to whom."""

# Twisted's errors and transports are not annotated yet.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet import defer, error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.base import BaseConnector
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConnector, IListeningPort, IProtocolFactory
from twisted.internet.protocol import ClientFactory
from zope.interface import implementer

from tunnelmesh.lab.sim.bindings import Bindings
from tunnelmesh.lab.sim.segment import SYN, Segment, reset_for
from tunnelmesh.lab.sim.stream import Stream, to_address
from tunnelmesh.lab.sim.tcp import Connection
from tunnelmesh.wire.endpoint import Endpoint

if TYPE_CHECKING:
    from tunnelmesh.lab.sim.reactor import Reactor

#: Seconds that a closed socket's connection may take to deliver its last bytes, TIME-WAIT included.
ORPHAN_LIFETIME = 480.0


@implementer(IListeningPort)
class Port:
    """A listening TCP port."""

    def __init__(self, sockets: Sockets, bound: Endpoint, factory: IProtocolFactory) -> None:
        self.factory = factory
        self._sockets = sockets
        self._bound = bound

    def startListening(self) -> None:
        """Begin to take connections.

        :raises CannotListenError: if the port is taken.
        """
        if not self._sockets.reactor.owns(self._bound.host):
            raise error.CannotListenError(*self._bound, OSError("not an address of this machine"))
        self._bound = self._sockets.listeners.bind(*self._bound, self)
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:
        """Take no more connections; those that exist go on."""
        if self._sockets.listeners.unbind(self._bound, self):
            self.factory.doStop()
        return defer.succeed(None)

    def getHost(self) -> IPv4Address | IPv6Address:
        return to_address("TCP", self._bound)


@implementer(IConnector)
class Connector(BaseConnector):
    """A connection to be made, as ``connectTCP`` returns it."""

    def __init__(
        self,
        sockets: Sockets,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float,
        bind_address: tuple[str, int] | None,
    ) -> None:
        super().__init__(factory, timeout, sockets.reactor)  # type: ignore[arg-type]
        self._sockets = sockets
        self._destination = Endpoint(host, port)
        self._bind_address = bind_address

    def _makeTransport(self) -> Any:
        return self._sockets.open(self, self._destination, self._bind_address)

    def getDestination(self) -> IPv4Address | IPv6Address:
        return to_address("TCP", self._destination)


class Sockets:
    """The TCP of one machine.

    :param reactor: the machine's reactor: time, and names.
    :param transmit: sends a segment from an endpoint to another.
    :param source_for: the machine's own address towards another, or None where there is no way.
    :param mss: bytes of a segment that the machine's network carries.
    :param window: bytes that a connection keeps for a slow reader.
    """

    def __init__(
        self,
        reactor: Reactor,
        transmit: Callable[[Endpoint, Endpoint, Segment], None],
        source_for: Callable[[str], str | None],
        random: Random,
        mss: int,
        window: int,
    ) -> None:
        self.reactor = reactor
        self._transmit = transmit
        self._source_for = source_for
        self._random = random
        self._mss = mss
        self._window = window
        self.listeners: Bindings[Port] = Bindings(random)
        self._connections: dict[tuple[Endpoint, Endpoint], Connection] = {}
        self._streams: dict[Connection, Stream] = {}
        self._armed: dict[Connection, float] = {}

    # Connecting.

    def open(
        self, connector: Connector, destination: Endpoint, bind: tuple[str, int] | None
    ) -> Stream:
        """Begin a connection; its connector hears how it went."""
        remote = Endpoint(self.reactor.address_of(destination.host) or "", destination.port)
        bound_host, bound_port = bind or ("", 0)
        host = bound_host or (self._source_for(remote.host) if remote.host else None)
        local = Endpoint(host or "", bound_port or self._free_port())
        connection = Connection(self._mss, self._window, self._random)
        stream = Stream(self, connection, local, remote, connector)
        problem: Exception | None = None
        if not remote.host:
            problem = error.DNSLookupError(f"no address for {destination.host}")
        elif not host:
            problem = error.NoRouteError()
        elif (local, remote) in self._connections or not self.reactor.owns(host):
            problem = error.ConnectBindError(None, f"{local} cannot be used")
        if problem is not None:
            self.soon(stream.failIfNotConnected, problem)
        else:
            self._connections[local, remote] = connection
            self._streams[connection] = stream
            self.soon(self.flush, local, remote, connection)
        return stream

    def _free_port(self) -> int:
        taken = {local.port for local, _ in self._connections}
        while (port := self.listeners.free_port()) in taken:
            pass
        return port

    # What moves connections on.

    def receive(self, source: Endpoint, destination: Endpoint, segment: Segment) -> None:
        """A segment arrived from *source* for this machine's *destination*."""
        key = (destination, source)
        connection = self._connections.get(key)
        if connection is None:
            connection = self._answer(key, segment)
            if connection is None:
                return
        else:
            was_connected = connection.connected
            connection.receive(segment, self.reactor.seconds())
            if connection.connected and not was_connected:
                self._established(key, connection)
        self._moved(key, connection)

    def _answer(self, key: tuple[Endpoint, Endpoint], segment: Segment) -> Connection | None:
        """A segment for no connection: a new one, if somebody listens."""
        local, remote = key
        if segment.flags == SYN and self.listeners.find(local) is not None:
            connection = Connection.answering(segment, self._mss, self._window, self._random)
            self._connections[key] = connection
            return connection
        reset = reset_for(segment)
        if reset is not None:
            self._transmit(local, remote, reset)
        return None

    def _established(self, key: tuple[Endpoint, Endpoint], connection: Connection) -> None:
        local, remote = key
        stream = self._streams.get(connection)
        if stream is not None:
            assert stream.connector is not None
            stream.established(stream.connector.buildProtocol(stream.getPeer()))
            return
        port = self.listeners.find(local)
        if port is None:
            connection.abort()
            return
        stream = self._streams[connection] = Stream(self, connection, local, remote)
        stream.established(port.factory.buildProtocol(stream.getPeer()))

    def _moved(self, key: tuple[Endpoint, Endpoint], connection: Connection) -> None:
        """A connection's state may have changed: tell its stream, send what it wants sent."""
        stream = self._streams.get(connection)
        if stream is None:
            # Its transport is gone, so nobody will read this: the other end is to know.
            if connection.connected and connection.readable:
                connection.abort()
            self.flush(*key, connection)
        elif stream.connected:
            stream.wake()
        elif connection.failure is not None:
            problem = {
                "refused": error.ConnectionRefusedError(),
                "timed out": error.TCPTimedOutError(),
            }.get(connection.failure, error.ConnectionLost())
            stream.failIfNotConnected(problem)
        else:
            self.flush(*key, connection)

    def flush(self, local: Endpoint, remote: Endpoint, connection: Connection) -> None:
        """Send what a connection wants sent, and arm its timer."""
        for segment in connection.segments(self.reactor.seconds()):
            self._transmit(local, remote, segment)
        if connection.closed:
            if self._connections.get((local, remote)) is connection:
                del self._connections[local, remote]
            self._armed.pop(connection, None)
        elif connection.deadline is not None:
            armed = self._armed.get(connection)
            if armed is None or connection.deadline < armed:
                self._arm((local, remote), connection)

    def _arm(self, key: tuple[Endpoint, Endpoint], connection: Connection) -> None:
        assert connection.deadline is not None
        when = self._armed[connection] = max(connection.deadline, self.reactor.seconds())
        self.reactor.clock.at(when, self._expire, key, connection)

    def _expire(self, key: tuple[Endpoint, Endpoint], connection: Connection) -> None:
        now = self.reactor.seconds()
        if self._armed.get(connection) != now:
            return
        del self._armed[connection]
        if connection.deadline is None:
            return
        if connection.deadline > now:
            self._arm(key, connection)
            return
        connection.expire(now)
        self._moved(key, connection)

    def soon(self, function: Callable[..., object], *args: object) -> None:
        """Call *function* once the caller is done, at this same time."""
        self.reactor.clock.at(self.reactor.seconds(), function, *args)

    # The end.

    def release(
        self, local: Endpoint, remote: Endpoint, connection: Connection, abort: bool
    ) -> None:
        """Its transport is gone: what was written is still sent, unless *abort*."""
        self._streams.pop(connection, None)
        if abort or connection.readable:
            connection.abort()
        else:
            connection.finish()
            self.reactor.clock.at(
                self.reactor.seconds() + ORPHAN_LIFETIME, self._forget, (local, remote), connection
            )
        self.flush(local, remote, connection)

    def _forget(self, key: tuple[Endpoint, Endpoint], connection: Connection) -> None:
        if self._connections.get(key) is connection:
            del self._connections[key]
            self._armed.pop(connection, None)

    def drop_all(self, reset: bool) -> None:
        """The machine, or its process, dies; *reset* says whether others are told."""
        connections = list(self._connections.items())
        for stream in self._streams.values():
            stream.connection = None
            stream.connected = 0
        self._streams.clear()
        self.listeners.clear()
        self._connections.clear()
        self._armed.clear()
        if reset:
            for (local, remote), connection in connections:
                connection.abort()
                for segment in connection.segments(self.reactor.seconds()):
                    self._transmit(local, remote, segment)
