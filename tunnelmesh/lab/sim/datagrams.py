"""An open UDP port, as the transport that Twisted's datagram protocols expect."""

# Twisted's errors and transports are not annotated yet.
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from zope.interface import implementer

from tunnelmesh.lab.sim.names import is_address
from tunnelmesh.lab.sim.stream import to_address
from tunnelmesh.wire.endpoint import Endpoint

if TYPE_CHECKING:
    from tunnelmesh.lab.sim.host import Host

#: The largest UDP payload over IPv4, in bytes.
DATAGRAM_MAX = 65_507


@implementer(IUDPTransport, IListeningPort)
class DatagramPort:
    """An open UDP port, which behaves like ``twisted.internet.udp.Port``.

    It has no ``socket``, so that code which would use one finds out and does without.
    """

    _log = Logger()

    def __init__(
        self, host: Host, bound: Endpoint, protocol: DatagramProtocol, packet_max: int
    ) -> None:
        self.protocol = protocol
        self.connected = False
        self._host = host
        self._bound = bound
        self._packet_max = packet_max
        self._peer: Endpoint | None = None
        self._broadcast = False

    def startListening(self) -> None:
        """Open the port.

        :raises CannotListenError: if it is taken, or the address is not this machine's.
        """
        if not self._host.owns(self._bound.host):
            raise error.CannotListenError(*self._bound, OSError("not an address of this machine"))
        self._bound = self._host.datagram_ports.bind(*self._bound, self)
        self.connected = True
        self.protocol.makeConnection(self)

    def stopListening(self) -> Deferred[None] | None:
        """Close the port at the end of this iteration.

        :returns: when it is closed; None where it is already.
        """
        if not self.connected:
            return None
        closed: Deferred[None] = Deferred()
        self._host.callLater(0, self._close, closed)
        return closed

    def _close(self, closed: Deferred[None]) -> None:
        if self.connected:
            self.connected = False
            self._host.datagram_ports.unbind(self._bound, self)
            self.protocol.doStop()
        closed.callback(None)

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        """Send a datagram; where it goes, and whether it gets there, nobody says.

        :raises InvalidAddressError: for a name, or an address of the other family.
        :raises MessageLengthError: for a datagram that UDP cannot hold.
        """
        if not self.connected:
            return
        destination = self._peer if addr is None else Endpoint(*addr)
        if destination is None:
            raise ValueError("neither connected nor given an address")
        if not is_address(destination.host):
            raise error.InvalidAddressError(destination.host, "names are not looked up here")
        if (":" in destination.host) != (":" in self._bound.host):
            raise error.InvalidAddressError(destination.host, "not this port's address family")
        if len(packet) > DATAGRAM_MAX:
            raise error.MessageLengthError("message too long")
        self._host.send_datagram(self._bound, destination, bytes(packet))

    def writeSequence(self, iovec: list[bytes], addr: tuple[str, int] | None = None) -> None:
        """Send a datagram made of pieces."""
        self.write(b"".join(iovec), addr)

    def received(self, datagram: bytes, source: Endpoint) -> None:
        """A datagram arrived for this port."""
        if self._peer is not None and source != self._peer:
            return
        try:
            # A plain tuple, as a socket gives, and not an Endpoint.
            address = (source.host, source.port)
            self.protocol.datagramReceived(datagram[: self._packet_max], address)
        except Exception:
            self._log.failure("a datagram protocol failed")

    def connect(self, host: str, port: int) -> None:
        """Send to, and hear from, one endpoint only."""
        if self._peer is not None:
            raise RuntimeError("already connected")
        if not is_address(host):
            raise error.InvalidAddressError(host, "not an IPv4 or IPv6 address.")
        self._peer = Endpoint(host, port)

    def getHost(self) -> IPv4Address | IPv6Address:
        return to_address("UDP", self._bound)

    def setBroadcastAllowed(self, enabled: bool) -> None:
        self._broadcast = bool(enabled)

    def getBroadcastAllowed(self) -> bool:
        return self._broadcast
