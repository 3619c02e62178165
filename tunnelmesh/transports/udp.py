"""Datagrams over UDP: one socket for STUN, probes, handshakes and data alike.

A NAT's mapping belongs to the source port, so everything that wants to use the mapping that STUN
found must leave from this socket.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet import error, udp
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from tunnelmesh.errors import ListenError
from tunnelmesh.interfaces import IPath, ITransport
from tunnelmesh.wire.endpoint import Endpoint

MAX_BATCH = 64
"""Datagrams read before other work gets its turn: about a millisecond's worth."""

MAX_DATAGRAM = 65535

MTU = 1472
"""Bytes of UDP payload in an Ethernet frame; longer datagrams travel in fragments."""

BUFFER = 4 << 20
"""Bytes of socket buffer asked for: 10 ms at 3 Gbit/s. Without privileges the kernel gives less."""

_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DONT = 0


class DatagramUser(Protocol):
    """Who receives batches; see :class:`~tunnelmesh.interfaces.IPathUser`."""

    def datagrams_received(self, datagrams: Sequence[bytes], path: Any) -> None: ...


@implementer(IPath)
class UdpPath:
    """The way to one endpoint; small enough to be made for every batch that arrives."""

    __slots__ = ("remote", "transport")
    kind = "udp"
    mtu = MTU

    def __init__(self, transport: UdpTransport, remote: Endpoint) -> None:
        self.transport = transport
        self.remote = remote

    def write(self, datagrams: Sequence[bytes]) -> None:
        """Send them; what the kernel does not take is counted and lost, as UDP may."""
        self.transport.send(datagrams, self.remote)

    def pauseProducing(self) -> None:
        """UDP has nobody to wait for."""

    def resumeProducing(self) -> None:
        """UDP has nobody to wait for."""

    def stopProducing(self) -> None:
        """A path over UDP holds nothing that needs closing."""


class _BatchPort(udp.Port):
    """Reads until the socket is empty and hands over what came from one place together."""

    protocol: UdpTransport

    def doRead(self) -> None:
        receive = self.socket.recvfrom
        batch: list[bytes] = []
        source: tuple[Any, ...] = ()
        for _ in range(MAX_BATCH):
            try:
                datagram, sender = receive(MAX_DATAGRAM)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error about something sent earlier
                continue
            if sender != source and batch:
                self.protocol.batch_received(batch, Endpoint(source[0], source[1]))
                batch = []
            source = sender
            batch.append(datagram)
        if batch:
            self.protocol.batch_received(batch, Endpoint(source[0], source[1]))


@implementer(ITransport)
class UdpTransport(DatagramProtocol):
    """One UDP socket.

    :ivar refused: datagrams that the operating system would not send.
    """

    kind = "udp"
    noisy = False

    def __init__(self, user: DatagramUser) -> None:
        self.refused = 0
        self._user = user
        self._port: Any = None
        self._socket: socket.socket | None = None

    def open(self, reactor: Any, port: int) -> None:
        """Listen on a UDP port, or on any free one if it is 0.

        :raises ListenError: if the port is taken.
        """
        try:
            if IReactorFDSet.providedBy(reactor):
                self._port = _BatchPort(  # type: ignore[no-untyped-call]
                    port, self, "", MAX_DATAGRAM, reactor
                )
                self._port.startListening()
                self._socket = self._port.socket
                _tune(self._port.socket)
            else:
                self._port = reactor.listenUDP(port, self, maxPacketSize=MAX_DATAGRAM)
        except error.CannotListenError as failure:
            raise ListenError(
                f"UDP port {port} cannot be used ({failure.socketError}); "
                "give another with --udp-port"
            ) from None

    @property
    def local_port(self) -> int:
        """The port that was opened."""
        return int(self._port.getHost().port)

    def close(self) -> Any:
        """Stop listening; returns a Deferred or None as ``stopListening`` does."""
        port, self._port, self._socket = self._port, None, None
        return None if port is None else port.stopListening()

    def path_to(self, remote: Endpoint) -> UdpPath:
        """The way to an endpoint."""
        return UdpPath(self, remote)

    def send(self, datagrams: Sequence[bytes], remote: Endpoint) -> None:
        """Send a batch to one endpoint."""
        if self._port is None:
            self.refused += len(datagrams)
            return
        send = self._port.write if self._socket is None else self._socket.sendto
        for datagram in datagrams:
            try:
                send(datagram, remote)
            except OSError:  # full buffer, no route, a local firewall
                self.refused += 1

    def batch_received(self, datagrams: list[bytes], source: Endpoint) -> None:
        """A batch arrived from one endpoint."""
        self._user.datagrams_received(datagrams, UdpPath(self, source))

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """One datagram arrived, on a reactor that knows no batches."""
        self.batch_received([datagram], Endpoint(addr[0], addr[1]))


def _tune(sock: socket.socket) -> None:
    """Ask for room, and for fragmentation instead of silence where a link is narrow."""
    for forced, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, plain, BUFFER)
    try:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
    except OSError:
        pass
