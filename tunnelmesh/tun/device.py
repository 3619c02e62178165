"""A Linux TUN device: IP packets and super-packets from and to the kernel, in batches.

Any exception out of ``doRead`` makes the reactor forget the device for good, and an ``OSError``
from a write is ordinary: a malformed packet is enough (the kernel answers EINVAL to what is neither
IPv4 nor IPv6). Hence neither gets past this file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.bulk.worth import LARGE, MANY
from tunnelmesh.errors import DecodeError, DeviceError
from tunnelmesh.interfaces import ITunnelDevice, ITunnelUser
from tunnelmesh.tun.address import configure
from tunnelmesh.tun.link import limit_super_packets
from tunnelmesh.tun.offload import Offloads, attach, ordinary_packets
from tunnelmesh.wire.ip import UDP_CHECKSUM, complete_checksum
from tunnelmesh.wire.virtio import EMPTY, GSO_UDP_L4, HEADER_SIZE, NEEDS_CSUM, unpack

DEFAULT_MTU = 1420
"""Bytes: 1500 less IPv6 (40), UDP (8) and WireGuard (32), so that no packet is cut on the way."""

READS = 64
BYTES = 512 * 1024
"""What is read in one turn of the reactor; then timers and other sockets have theirs. Each is a
millisecond's or two's work: of ordinary packets, or of super-packets."""

LARGEST_PACKET = 65535
"""Bytes. Reading less than the MTU would cut packets, and people change the MTU."""

LARGEST_SUPER_PACKET = 62_000
"""Bytes: 45 full segments of a TCP with timestamps. With what is added to them, sealed alone or
together, they still leave in one UDP system call, which no larger number does."""

_PATH = "/dev/net/tun"

_START = 2
_PACKET = _START + HEADER_SIZE
"""Where in the buffer the virtio header and the packet start: the payload after a usual TCP header
(52 bytes) is then aligned for fast copying and adding."""

_TO4 = slice(_PACKET + 16, _PACKET + 20)
_TO6 = slice(_PACKET + 24, _PACKET + 40)
"""Where a packet's destination is."""

_WITHOUT = "or do without a device: --mode=userspace"

_log = Logger()


class System:
    """The system calls that a device makes. Tests bring their own."""

    open = staticmethod(os.open)
    attach = staticmethod(attach)
    configure = staticmethod(configure)
    limit_super_packets = staticmethod(limit_super_packets)
    readv = staticmethod(os.readv)
    write = staticmethod(os.write)
    close = staticmethod(os.close)


@implementer(ITunnelDevice, IReadDescriptor)
class KernelDevice:
    """An open TUN device on the reactor.

    :ivar offloads: whether super-packets come and go, of TCP at least.
    :ivar udp_offload: whether they do of UDP.
    :ivar lacking: why, if something is lacking, for people.
    :ivar received: packets that the kernel sent into the tunnel; a super-packet is one.
    :ivar malformed: of these, ones whose virtio header was not right.
    :ivar written: packets that the kernel took.
    :ivar refused: packets that the kernel did not take: malformed, its queue full, link down.
    """

    def __init__(
        self, reactor: Any, system: System, fd: int, name: str, mtu: int, offloads: Offloads
    ) -> None:
        self.name = name
        self.mtu = mtu
        self.offloads = offloads.tcp
        self.udp_offload = offloads.udp
        self.lacking = offloads.lacking
        self.received = 0
        self.malformed = 0
        self.written = 0
        self.refused = 0
        self._reactor = reactor
        self._system = system
        self._fd = fd
        self._answered = False
        self._user: ITunnelUser | None = None
        self._lanes: Mapping[bytes, Any] = {}
        self._prefix = EMPTY if offloads.header else b""
        self._buffer = bytearray(_PACKET + LARGEST_PACKET)
        self._view = memoryview(self._buffer)
        self._read_from = _START if offloads.header else _PACKET

    def start(self, user: ITunnelUser) -> None:
        """Begin to deliver what the kernel sends into the tunnel."""
        self._user = user
        self._lanes = user.lanes
        self._reactor.addReader(self)

    def write(self, packets: Sequence[bytes]) -> None:
        """Hand a batch of IP packets to the kernel. What it refuses is counted."""
        count = len(packets)
        if self.offloads and count >= MANY and sum(map(len, packets)) >= count * LARGE:
            from tunnelmesh.bulk.coalescing import coalesce

            for each in coalesce(packets, self.udp_offload):
                if isinstance(each, SuperPacket):
                    self._write(memoryview(each.buffer)[each.start : each.stop])
                else:
                    self._write(EMPTY + each)
        else:
            for packet in packets:
                self._write(self._prefix + packet)

    def write_bulk(self, packet: memoryview) -> None:
        """Hand a super-packet, after its virtio header, to the kernel."""
        if self.offloads and (self.udp_offload or unpack(packet, 0)[1] != GSO_UDP_L4):
            self._write(packet)
            return
        try:
            packets = ordinary_packets(packet)
        except DecodeError:
            self.refused += 1
            return
        for each in packets:
            self._write(self._prefix + each)

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._system.write(self._fd, data)
        except OSError:
            self.refused += 1
        else:
            self.written += 1
            self._answered = True

    def collect(self) -> None:
        """The kernel answers a ping, and acknowledges what TCP receives, while that is written: to
        read it at once saves a turn of the reactor."""
        if self._answered:
            self.doRead()  # what is wrong with the device, the reactor finds as well

    def stop(self) -> None:
        """Close the device, and with it its addresses and routes."""
        if self._fd >= 0:
            self._reactor.removeReader(self)
            self._system.close(self._fd)
            self._fd = -1

    def fileno(self) -> int:
        """For the reactor; -1 once closed."""
        return self._fd

    def logPrefix(self) -> str:
        """For the reactor."""
        return self.name

    def doRead(self) -> Failure | None:
        """Read what is there, up to a turn's worth, and deliver it in order.

        :returns: what is wrong with the device, upon which the reactor gives it up.
        """
        readv, memory, read_from = self._system.readv, self._view, self._read_from
        room = [memory[read_from:]]
        now = self._reactor.seconds()
        self._answered = False
        packets: list[bytes] = []
        broken = None
        total = 0
        for _ in range(READS):
            if self._fd < 0:  # the user has stopped it
                break
            try:
                size = readv(self._fd, room)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                broken = Failure(error)  # type: ignore[no-untyped-call]
                break
            self.received += 1
            stop = read_from + size
            flags, gso_type, _, segment, start, offset = unpack(memory, _START)
            if gso_type:
                if packets:
                    self._deliver(packets)
                    packets = []
                destination = memory[_TO4 if memory[_PACKET] >> 4 == 4 else _TO6]
                lane = self._lanes.get(destination.tobytes())
                if lane is None:
                    self._deliver_bulk(stop)
                else:
                    self._carry(lane, stop, segment, now)
            elif not flags & NEEDS_CSUM or self._complete(stop, start, offset):
                packets.append(bytes(self._view[_PACKET:stop]))
            total += size
            if total >= BYTES:
                break
        if packets:
            self._deliver(packets)
        return broken

    def _complete(self, stop: int, start: int, offset: int) -> bool:
        """Finish the checksum that the kernel left undone, if there is room for one."""
        start += _PACKET
        if start + offset + 2 > stop:
            self.malformed += 1
            return False
        complete_checksum(self._buffer, start, stop, start + offset, offset == UDP_CHECKSUM)
        return True

    def _deliver(self, packets: list[bytes]) -> None:
        if self._user is not None:
            try:
                self._user.packets_leaving(packets)
            except Exception:
                _log.failure("{name}: packets were lost", name=self.name)

    def _carry(self, lane: Any, stop: int, segment: int, now: float) -> None:
        try:
            lane.carry(self._view, _PACKET, stop, segment, now)
        except Exception:
            _log.failure("{name}: a super-packet was lost", name=self.name)

    def _deliver_bulk(self, stop: int) -> None:
        try:
            packet = SuperPacket.read(self._buffer, _START, stop)
        except DecodeError:
            self.malformed += 1
            return
        if self._user is not None:
            try:
                self._user.bulk_leaving(packet)
            except Exception:
                _log.failure("{name}: a super-packet was lost", name=self.name)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gives the device up."""
        _log.error("the network device {name} is gone: somebody deleted it", name=self.name)
        self.stop()


def open_device(
    reactor: Any,
    name: str,
    address: IPv4Interface,
    address6: IPv6Interface,
    mtu: int = DEFAULT_MTU,
    system: System | None = None,
) -> KernelDevice:
    """Make a TUN device, address it and bring it up.

    :param name: at most 15 characters.
    :param address: the machine's mesh address; the kernel routes its whole network to the device.
    :param address6: the same for IPv6.
    :param mtu: in bytes.
    :raises DeviceError: in one line that says what to do.
    """
    system = system or System()
    fd = -1
    try:
        fd = system.open(_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        offloads = system.attach(fd, name)
        system.configure(name, address, address6, mtu)
    except OSError as error:
        if fd >= 0:
            system.close(fd)
        raise DeviceError(_advice(name, error)) from error
    if offloads.tcp:
        try:
            system.limit_super_packets(name, LARGEST_SUPER_PACKET)
        except OSError as error:  # larger ones leave in two system calls
            _log.info("{name}: super-packets are not limited: {error}", name=name, error=error)
    if offloads.lacking:
        _log.info("{name} works without some offloads: {why}", name=name, why=offloads.lacking)
    return KernelDevice(reactor, system, fd, name, mtu, offloads)


def _advice(name: str, error: OSError) -> str:
    match error.errno:
        case errno.EPERM | errno.EACCES:
            return (
                f"no right to make the network device {name}: run as root, give the Python "
                f"program CAP_NET_ADMIN (setcap cap_net_admin+ep FILE), {_WITHOUT}"
            )
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return f"this system has no {_PATH}: load it (modprobe tun), {_WITHOUT}"
        case errno.EBUSY | errno.EINVAL:
            return f"the network device {name} is in use: choose another, such as --tun-name=tm1"
    return f"the network device {name} cannot be made: {error.strerror}"
