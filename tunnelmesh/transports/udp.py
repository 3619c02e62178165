"""Datagrams over UDP: one socket for STUN, probes, handshakes and data alike.

A NAT's mapping belongs to the source port, so everything that wants to use the mapping that STUN
found must leave from this socket.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet import error, udp
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from zope.interface import implementer

from tunnelmesh.bulk.run import Run
from tunnelmesh.errors import ListenError
from tunnelmesh.interfaces import IPath, ITransport
from tunnelmesh.paths.selection import Way
from tunnelmesh.transports.intake import MAX_DATAGRAM, Intake
from tunnelmesh.transports.offload import (
    ANCILLARY,
    can_segment,
    receive_runs,
    runs,
    segment_of,
    send_run,
)
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.record import KIND

READS = 64
DATAGRAMS = 256
BYTES = 512 * 1024
"""What is read before other work gets its turn: each of them about a millisecond's worth, or two,
of system calls, of small datagrams, or of large ones."""

MTU = 1472
MTU6 = 1452
"""Bytes of UDP payload in an Ethernet frame, over IPv4 and IPv6; what is longer, or too long for a
narrower link, is lost: :mod:`tunnelmesh.paths.path_mtu` finds out."""

BUFFER = 4 << 20
"""Bytes of socket buffer asked for: 10 ms at 3 Gbit/s. Without privileges the kernel gives less."""

_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_PROBE = 3

_log = Logger()


def _nothing() -> None:
    """Nobody wants to know."""


def _no_lane(record: memoryview, segment: int, source: Sequence[Any]) -> bool:
    """There are no lanes."""
    return False


class DatagramUser(Protocol):
    """Who receives batches; see :class:`~tunnelmesh.interfaces.IPathUser`."""

    def datagrams_received(self, datagrams: Sequence[bytes], path: Any) -> None: ...

    def run_received(self, messages: memoryview, segment: int, path: Any) -> None: ...


@implementer(IPath)
class UdpPath:
    """The way to one endpoint; small enough to be made for every batch that arrives."""

    __slots__ = ("remote", "transport")
    kind = "udp"

    def __init__(self, transport: UdpTransport, remote: Endpoint) -> None:
        self.transport = transport
        self.remote = remote

    @property
    def way(self) -> Way:
        """The endpoint itself: every path over the main socket is known by that alone."""
        return self.remote

    @property
    def mtu(self) -> int:
        """See :class:`~tunnelmesh.interfaces.IPath`."""
        return MTU6 if ":" in self.remote.host else MTU

    def write(self, datagrams: Sequence[bytes]) -> None:
        """Send them; what the kernel does not take is counted and lost, as UDP may."""
        self.transport.send(datagrams, self.remote)

    def write_run(self, run: Run) -> None:
        """Send them, with one system call where that is possible."""
        self.transport.send_run(run, self.remote)

    def pauseProducing(self) -> None:
        """UDP has nobody to wait for."""

    def resumeProducing(self) -> None:
        """UDP has nobody to wait for."""

    def stopProducing(self) -> None:
        """A path over UDP holds nothing that needs closing."""


class _BatchPort(udp.Port):
    """Reads until the socket is empty and hands over what came from one place together."""

    protocol: UdpTransport

    def createInternetSocket(self) -> socket.socket:
        """Make it; one for IPv6 leaves IPv4 to another."""
        made: socket.socket = super().createInternetSocket()
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made

    def startListening(self) -> None:
        """Open the socket, with what the system offers."""
        super().startListening()  # type: ignore[no-untyped-call]
        _tune(self.socket)

    def doRead(self) -> None:
        """Datagrams have arrived."""
        receive, intake = self.socket.recvmsg_into, Intake(self.protocol)
        datagrams = received = 0
        for _ in range(READS):
            try:
                size, ancillary, _flags, sender = receive([intake.room], ANCILLARY)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error about something sent earlier
                continue
            segment = segment_of(size, ancillary)
            intake.add(size, segment, sender)
            received += size
            datagrams += size // segment if segment else 1
            if received >= BYTES or datagrams >= DATAGRAMS:
                break
        intake.hand_over()
        self.protocol.after_reading()


@implementer(ITransport)
class UdpTransport(DatagramProtocol):
    """One UDP socket, for one address family.

    :ivar refused: datagrams that the operating system would not send; *too_long*: those of them
        that were too long for this machine's own link.
    :ivar failed: datagrams received that their user could not take.
    :ivar segmentation: whether a run leaves in one system call (UDP GSO).
    :ivar coalescing: whether what arrives together is read together (UDP GRO).
    :ivar unsegmented: runs that left one by one, because the link would not take them whole.
    :ivar on_lane: takes all parts of one whole record, in order, with the length of each but the
        last, and where they came from; returns whether that was right.
    :ivar after_reading: is called when all that has arrived together has been handed over.
    """

    kind = "udp"
    noisy = False

    def __init__(self, user: DatagramUser) -> None:
        self.refused = 0
        self.too_long = 0
        self.failed = 0
        self.segmentation = False
        self.coalescing = False
        self.unsegmented = 0
        self.after_reading: Callable[[], None] = _nothing
        self.on_lane: Callable[[memoryview, int, Sequence[Any]], bool] = _no_lane
        self._user = user
        self._port: Any = None
        self._socket: socket.socket | None = None
        self._source: Sequence[Any] = ()
        self._back = UdpPath(self, Endpoint("", 0))

    def open(self, reactor: Any, port: int, interface: str = "") -> None:
        """Listen on a UDP port, or on any free one if it is 0.

        :param interface: the local address; empty for all of IPv4, ``::`` for all of IPv6.
        :raises ListenError: if the port is taken, or the system does not have that family.
        """
        try:
            if IReactorFDSet.providedBy(reactor):
                self._port = _BatchPort(  # type: ignore[no-untyped-call]
                    port, self, interface, MAX_DATAGRAM, reactor
                )
                self._port.startListening()
                self._socket = self._port.socket
                self.segmentation = can_segment(self._port.socket)
                self.coalescing = receive_runs(self._port.socket)
            else:
                self._port = reactor.listenUDP(port, self, interface, MAX_DATAGRAM)
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
        if self.segmentation and len(datagrams) > 1:
            for run in runs(datagrams):
                self.send_run(run, remote)
        else:
            self._send_singly(datagrams, remote)

    def send_run(self, run: Run, remote: Endpoint) -> None:
        """Send a run to one endpoint."""
        if self._socket is None or not self.segmentation or run.count == 1:
            self._send_singly(run.datagrams(), remote)
            return
        for part in run.parts():
            try:
                send_run(self._socket, part, remote)
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.EMSGSIZE, errno.EIO):
                    # A link narrower than the datagrams, or whose device computes no checksums.
                    # Other ways have other links, so nothing is concluded from it.
                    self.unsegmented += 1
                    self._send_singly(part.datagrams(), remote)
                else:
                    self.refused += part.count

    def _send_singly(self, datagrams: Sequence[bytes], remote: Endpoint) -> None:
        if self._port is None:
            self.refused += len(datagrams)
            return
        send = self._port.write if self._socket is None else self._socket.sendto
        for datagram in datagrams:
            try:
                send(datagram, remote)
            except error.MessageLengthError:
                self.refused += 1
                self.too_long += 1
            except OSError as failure:  # full buffer, no route, a local firewall
                self.refused += 1
                self.too_long += failure.errno == errno.EMSGSIZE

    def batch_received(self, datagrams: list[bytes], source: Sequence[Any]) -> None:
        """A batch arrived from one place.

        :param source: its host and port, and perhaps more.

        What its user trips over costs the batch: out of ``doRead``, it would cost the socket.
        """
        try:
            self._user.datagrams_received(datagrams, self._back_to(source))
        except Exception:
            self.failed += len(datagrams)
            _log.failure("datagrams from {source} were lost", source=source)

    def run_received(self, messages: memoryview, segment: int, source: Sequence[Any]) -> None:
        """Messages arrived from one place. What their user trips over costs them, no more."""
        try:
            self._user.run_received(messages, segment, self._back_to(source))
        except Exception:
            self.failed += -(-len(messages) // segment)
            _log.failure("messages from {source} were lost", source=source)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """One datagram arrived, on a reactor that knows no batches."""
        if datagram[:1] == bytes([KIND]):
            self.run_received(memoryview(bytearray(datagram)), len(datagram), addr)
        else:
            self.batch_received([datagram], addr)

    def record_received(self, record: memoryview, segment: int, source: Sequence[Any]) -> None:
        """All parts of one whole record arrived from one place, in order."""
        try:
            if self.on_lane(record, segment, source):
                return
        except Exception:
            self.failed += 1
            _log.failure("a record from {source} was lost", source=source)
        else:
            self.run_received(record, segment, source)

    def _back_to(self, source: Sequence[Any]) -> UdpPath:
        """The way to where something came from: most comes from one place for a while."""
        if source != self._source:
            self._source = source
            self._back = self.path_to(Endpoint(source[0], source[1]))
        return self._back


def _tune(sock: socket.socket) -> None:
    """Ask for room, and for no fragments: neither here nor, over IPv4, on the way.

    The kernel is not to judge by what ICMP told it of the path: then pings could not find out.
    """
    for forced, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, plain, BUFFER)
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
    except OSError:
        pass
