"""Datagrams over UDP: one socket for STUN, probes, handshakes and data alike.

A NAT's mapping belongs to the source port, so everything that wants to use the mapping that STUN
found must leave from this socket.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet import error, udp
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from zope.interface import implementer

from tunnelmesh.errors import ListenError
from tunnelmesh.interfaces import IPath, ITransport
from tunnelmesh.paths.selection import Way
from tunnelmesh.transports.offload import ANCILLARY, cut, receive_runs, runs, send_run
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

_log = Logger()


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

    @property
    def way(self) -> Way:
        """The endpoint itself: every path over the main socket is known by that alone."""
        return self.remote

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

    def startListening(self) -> None:
        """Open the socket, with what the system offers."""
        super().startListening()  # type: ignore[no-untyped-call]
        _tune(self.socket)
        receive_runs(self.socket)
        self._buffer = memoryview(bytearray(MAX_DATAGRAM))

    def doRead(self) -> None:
        """Datagrams have arrived."""
        receive, buffer = self.socket.recvmsg_into, self._buffer
        batch: list[bytes] = []
        source: tuple[Any, ...] = ()
        for _ in range(MAX_BATCH):
            try:
                size, ancillary, _flags, sender = receive([buffer], ANCILLARY)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error about something sent earlier
                continue
            if batch and (sender != source or len(batch) >= MAX_BATCH):
                self.protocol.batch_received(batch, Endpoint(source[0], source[1]))
                batch = []
            source = sender
            batch += cut(buffer[:size], ancillary)
        if batch:
            self.protocol.batch_received(batch, Endpoint(source[0], source[1]))


@implementer(ITransport)
class UdpTransport(DatagramProtocol):
    """One UDP socket.

    :ivar refused: datagrams that the operating system would not send.
    :ivar failed: datagrams received that their user could not take.
    """

    kind = "udp"
    noisy = False

    def __init__(self, user: DatagramUser) -> None:
        self.refused = 0
        self.failed = 0
        self._user = user
        self._port: Any = None
        self._socket: socket.socket | None = None
        self._segmenting = sys.platform == "linux"

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
        if self._socket is None:
            self._send_singly(self._port.write, datagrams, remote)
        elif len(datagrams) == 1 or not self._segmenting:
            self._send_singly(self._socket.sendto, datagrams, remote)
        else:
            for run in runs(datagrams):
                self._send_run(self._socket, run, remote)

    def _send_run(self, sock: socket.socket, run: list[bytes], remote: Endpoint) -> None:
        if len(run) > 1:
            try:
                send_run(sock, run, remote)
                return
            except BlockingIOError:
                self.refused += len(run)
                return
            except OSError as error:
                # A link narrower than the datagrams, or a system or device that cannot.
                self._segmenting = error.errno not in (errno.EIO, errno.ENOPROTOOPT, errno.EINVAL)
        self._send_singly(sock.sendto, run, remote)

    def _send_singly(
        self,
        send: Callable[[bytes, Endpoint], object],
        datagrams: Sequence[bytes],
        remote: Endpoint,
    ) -> None:
        for datagram in datagrams:
            try:
                send(datagram, remote)
            except OSError:  # full buffer, no route, a local firewall
                self.refused += 1

    def batch_received(self, datagrams: list[bytes], source: Endpoint) -> None:
        """A batch arrived from one endpoint.

        What its user trips over costs the batch: out of ``doRead``, it would cost the socket.
        """
        try:
            self._user.datagrams_received(datagrams, UdpPath(self, source))
        except Exception:
            self.failed += len(datagrams)
            _log.failure("datagrams from {source} were lost", source=source)

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
