"""A TCP connection of the simulation, as the transport that Twisted's protocols expect."""

# Twisted's errors and transports are not annotated yet.
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from twisted.internet import error, main
from twisted.internet._newtls import ConnectionMixin
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tunnelmesh.lab.sim.tcp import Connection
from tunnelmesh.wire.endpoint import Endpoint

if TYPE_CHECKING:
    from tunnelmesh.lab.sim.sockets import Connector, Sockets

_FAILURES: dict[str, type[Exception]] = {
    "refused": error.ConnectionRefusedError,
    "reset": error.ConnectionLost,
    "timed out": error.TCPTimedOutError,
}


def to_address(protocol: Literal["TCP", "UDP"], endpoint: Endpoint) -> IPv4Address | IPv6Address:
    """Twisted's form of an endpoint. *protocol* is 'TCP' or 'UDP'."""
    kind = IPv6Address if ":" in endpoint.host else IPv4Address
    return kind(protocol, endpoint.host, endpoint.port)


@implementer(ITCPTransport, ITLSTransport)
class Stream(ConnectionMixin, FileDescriptor):
    """What ``twisted.internet.tcp.Connection`` is, over a simulated connection.

    Buffers, producers and closing are Twisted's own (:class:`FileDescriptor`); the connection
    stands where the socket would.

    :ivar connection: the TCP machine, None once the transport is disconnected.
    """

    _log = Logger()

    def __init__(
        self,
        sockets: Sockets,
        connection: Connection,
        local: Endpoint,
        remote: Endpoint,
        connector: Connector | None = None,
    ) -> None:
        # It asks a reactor to watch a descriptor; there is none here, and the methods that do so
        # are replaced below.
        reactor: Any = sockets.reactor
        FileDescriptor.__init__(self, reactor)
        self.local = local
        self.remote = remote
        self.connection: Connection | None = connection
        self.connector = connector
        self.protocol: IProtocol | None = None
        self._tlsClientDefault = connector is not None
        self._sockets = sockets
        self._reading = self._writing = self._aborting = False
        self._woken = self._read_to_end = False
        self._no_delay = self._keep_alive = False

    # What the socket layer calls.

    def established(self, protocol: IProtocol | None) -> None:
        """The handshake is done and the factory has answered."""
        self.connected = 1
        if protocol is None:
            self.protocol = Protocol()
            self.loseConnection()
            return
        self.protocol = protocol
        self._reading = True
        protocol.makeConnection(self)

    def wake(self) -> None:
        """Something changed: read, write, notice the end, as a reactor's iteration does."""
        self._woken = False
        connection = self.connection
        if connection is None or not self.connected:
            return
        result: object = None
        try:
            while self._reading and connection.readable and self.connected:
                self.dataReceived(connection.read(self.bufferSize))
            while self._writing and self.connected and result is None:
                if not connection.room and not connection.closed and self._has_data:
                    break
                result = self.doWrite()
        except Exception:
            self._log.failure("a protocol failed")
            result = error.ConnectionLost("its protocol failed")
        if result is None and connection.failure is not None:
            result = _FAILURES[connection.failure]()
        if isinstance(result, BaseException):
            self.connectionLost(Failure(result))
        elif self._reading and connection.at_end and not connection.readable:
            self._reading = False
            if self._read_to_end:
                return
            self._read_to_end = True
            self.readConnectionLost(Failure(main.CONNECTION_DONE))
        self._sockets.flush(self.local, self.remote, connection)

    def dataReceived(self, data: bytes) -> None:
        """Hand bytes to the protocol."""
        assert self.protocol is not None
        self.protocol.dataReceived(data)

    @property
    def _has_data(self) -> bool:
        return bool(self._tempDataLen or len(self.dataBuffer) > self.offset)

    # FileDescriptor's hooks.

    def startReading(self) -> None:
        self._reading = True
        self._wake_soon()

    def stopReading(self) -> None:
        self._reading = False

    def startWriting(self) -> None:
        self._writing = True
        self._wake_soon()

    def stopWriting(self) -> None:
        self._writing = False

    def _wake_soon(self) -> None:
        if not self._woken and self.connected:
            self._woken = True
            self._sockets.soon(self.wake)

    def writeSomeData(self, data: bytes) -> int | BaseException:
        if self.connection is None or self.connection.closed:
            return main.CONNECTION_LOST
        return self.connection.send(memoryview(data)[: self.SEND_LIMIT])

    def _closeWriteConnection(self) -> None:
        if self.connection is not None:
            self.connection.finish()
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is not None:
            protocol.writeConnectionLost()

    def readConnectionLost(self, reason: Failure) -> None:
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is None:
            self.connectionLost(reason)
            return
        try:
            protocol.readConnectionLost()
        except Exception:
            self._log.failure("a protocol failed")
            self.connectionLost(Failure())

    def connectionLost(self, reason: Failure) -> None:
        connection, self.connection = self.connection, None
        if connection is None:
            return
        FileDescriptor.connectionLost(self, reason)
        self._sockets.release(
            self.local, self.remote, connection, reason.check(error.ConnectionAborted) is not None
        )
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(reason)
        if self.connector is not None:
            self.connector.connectionLost(reason)

    # ITCPTransport.

    def abortConnection(self) -> None:
        if self.disconnected or self._aborting:
            return
        self._aborting = True
        self.stopReading()
        self.stopWriting()
        self._sockets.reactor.callLater(0, self.connectionLost, Failure(error.ConnectionAborted()))

    def getHost(self) -> IPv4Address | IPv6Address:
        return to_address("TCP", self.local)

    def getPeer(self) -> IPv4Address | IPv6Address:
        return to_address("TCP", self.remote)

    def getTcpNoDelay(self) -> bool:
        return self._no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        self._no_delay = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        return self._keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self._keep_alive = bool(enabled)

    # BaseConnector's expectation of a transport.

    def failIfNotConnected(self, reason: BaseException) -> None:
        """Give the attempt up, unless it has succeeded."""
        connection, connector = self.connection, self.connector
        if connection is None or connector is None or self.connected:
            return
        self.connection = self.connector = None
        self._sockets.release(self.local, self.remote, connection, abort=True)
        connector.connectionFailed(Failure(reason))

    def logPrefix(self) -> str:
        return self._getLogPrefix(self.protocol) if self.protocol else "-"
