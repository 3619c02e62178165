"""The mesh's DNS server on this machine: over UDP and TCP, at its mesh address."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol, Factory, connectionDone
from twisted.protocols.basic import Int16StringReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from tunnelmesh.errors import ListenError
from tunnelmesh.names.zone import Zone
from tunnelmesh.wire.endpoint import Endpoint

PORTS = (53, 10053)
"""The port of the DNS, which needs rights and may be another server's; and one that is easy to
remember. Whoever asks is told which."""

LONGEST = 4096
"""Bytes of the longest question read. One has 12 bytes, a name of up to 255, and options."""

MOST_CONNECTIONS = 32
"""Open TCP connections. Only who wants to check an answer twice uses TCP at all."""

MOST_QUESTIONS = 64
"""Questions on one TCP connection, so that who never reads the answers holds 32 kB of ours."""

IDLE = 10.0
"""Seconds after which a silent TCP connection is closed (RFC 7766 §6.2.3: a few)."""


class NameServer:
    """Answers who asks from this machine or from the mesh.

    Others cannot be meant: on a LAN a neighbour may send packets to our mesh address all the same.

    :param network: the mesh's addresses.

    :ivar where: where it listens, or None.
    :ivar counters: what came, by what was done with it.
    """

    def __init__(self, reactor: Any, zone: Zone, network: IPv4Network) -> None:
        self.where: Endpoint | None = None
        self.counters: Counter[str] = Counter()
        self.connections: set[_Connection] = set()
        self.reactor = reactor
        self._zone = zone
        self._network = network
        self._ports: list[IListeningPort] = []

    def listen(self, address: str) -> None:
        """Listen at an address of this machine.

        :raises ListenError: if neither of the ports can be had.
        """
        for port in PORTS:
            try:
                self._listen(address, port)
            except CannotListenError as error:
                self.stop()
                problem = error
            else:
                return
        reason = getattr(problem, "socketError", problem)
        ports = " or ".join(map(str, PORTS))
        raise ListenError(f"cannot listen on port {ports} of {address}: {reason}")

    def stop(self) -> None:
        """Listen no more."""
        ports, self._ports = self._ports, []
        for port in ports:
            port.stopListening()
        for connection in list(self.connections):
            connection.abort()
        self.where = None

    def respond(self, query: bytes) -> bytes | None:
        """Answer a message, or None."""
        # Loading this takes 10 ms, which the first question pays, and not the start.
        from tunnelmesh.names.message import respond

        answer = respond(query, self._zone)
        self.counters["answered" if answer is not None else "malformed"] += 1
        return answer

    def serves(self, host: str) -> bool:
        """Whether somebody at an address is answered."""
        address = IPv4Address(host)
        served = address in self._network or address.is_loopback
        self.counters["strangers"] += not served
        return served

    def _listen(self, address: str, port: int) -> None:
        listen = self.reactor.listenUDP
        self._ports.append(listen(port, _Datagrams(self), address, maxPacketSize=LONGEST))
        self._ports.append(self.reactor.listenTCP(port, _Connections(self), interface=address))
        self.where = Endpoint(address, port)


class _Datagrams(DatagramProtocol):
    noisy = False

    def __init__(self, server: NameServer) -> None:
        self._server = server

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Answer a question that came over UDP."""
        if not self._server.serves(addr[0]):
            return
        answer = self._server.respond(datagram)
        if answer is not None and self.transport is not None:
            with suppress(OSError):  # such as to port 0
                self.transport.write(answer, addr)


class _Connections(Factory[Any]):
    noisy = False

    def __init__(self, server: NameServer) -> None:
        self._server = server

    def buildProtocol(self, addr: Any) -> _Connection | None:
        """Take a connection, unless it is a stranger's or there are many."""
        server = self._server
        if len(server.connections) >= MOST_CONNECTIONS:
            server.counters["too many connections"] += 1
            return None
        return _Connection(server) if server.serves(addr.host) else None


class _Connection(Int16StringReceiver, TimeoutMixin):
    """Questions over TCP, each after its length (RFC 1035 §4.2.2)."""

    MAX_LENGTH = LONGEST
    transport: Any

    def __init__(self, server: NameServer) -> None:
        self._server = server
        self._left = MOST_QUESTIONS

    def callLater(self, seconds: float, call: Any) -> Any:
        """See :class:`twisted.protocols.policies.TimeoutMixin`."""
        return self._server.reactor.callLater(seconds, call)

    def connectionMade(self) -> None:
        """Begin to wait."""
        self._server.connections.add(self)
        self.setTimeout(IDLE)

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Wait no more."""
        self._server.connections.discard(self)
        self.setTimeout(None)

    def stringReceived(self, string: bytes) -> None:
        """Answer a question."""
        if self.transport.disconnecting:
            return
        self.resetTimeout()
        answer = self._server.respond(string)
        if answer is not None:
            self.sendString(answer)
        self._left -= 1
        if answer is None or not self._left:
            self.transport.loseConnection()
