"""A Linux TUN device: whole IP packets from and to the kernel, in batches.

Any exception out of ``doRead`` makes the reactor forget the device for good, and an ``OSError``
from a write is ordinary: a malformed packet is enough (the kernel answers EINVAL to what is neither
IPv4 nor IPv6). Hence neither gets past this file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tunnelmesh.errors import DeviceError
from tunnelmesh.interfaces import ITunnelDevice, ITunnelUser
from tunnelmesh.tun.address import configure

DEFAULT_MTU = 1420
"""Bytes: 1500 less IPv6 (40), UDP (8) and WireGuard (32), so that no packet is cut on the way."""

BATCH = 64
"""Most packets read in one turn of the reactor; then timers and other sockets have theirs."""

LARGEST_PACKET = 65535
"""Bytes. Reading less than the MTU would cut packets, and people change the MTU."""

_PATH = "/dev/net/tun"

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_REQUEST = struct.Struct("16sH22x")

_WITHOUT = "or do without a device: --mode=userspace"

_log = Logger()


def _attach(fd: int, name: str) -> None:
    """Make *fd* the other end of the TUN device *name*, without a header before each packet."""
    fcntl.ioctl(fd, _TUNSETIFF, _REQUEST.pack(name.encode(), _IFF_TUN | _IFF_NO_PI))


class System:
    """The system calls that a device makes. Tests bring their own."""

    open = staticmethod(os.open)
    attach = staticmethod(_attach)
    read = staticmethod(os.read)
    write = staticmethod(os.write)
    close = staticmethod(os.close)
    configure = staticmethod(configure)


@implementer(ITunnelDevice, IReadDescriptor)
class KernelDevice:
    """An open TUN device on the reactor.

    :ivar received: packets that the kernel sent into the tunnel.
    :ivar written: packets that the kernel took.
    :ivar refused: packets that the kernel did not take: malformed, its queue full, link down.
    """

    def __init__(self, reactor: Any, system: System, fd: int, name: str, mtu: int) -> None:
        self.name = name
        self.mtu = mtu
        self.received = 0
        self.written = 0
        self.refused = 0
        self._reactor = reactor
        self._system = system
        self._fd = fd
        self._user: ITunnelUser | None = None

    def start(self, user: ITunnelUser) -> None:
        """Begin to deliver what the kernel sends into the tunnel."""
        self._user = user
        self._reactor.addReader(self)

    def write(self, packets: Sequence[bytes]) -> None:
        """Hand a batch of IP packets to the kernel. What it refuses is counted."""
        write, fd = self._system.write, self._fd
        for packet in packets:
            try:
                write(fd, packet)
            except OSError:
                self.refused += 1
            else:
                self.written += 1

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
        """Read what is there, up to a batch, and deliver it.

        :returns: what is wrong with the device, upon which the reactor gives it up.
        """
        read, fd = self._system.read, self._fd
        packets: list[bytes] = []
        broken = None
        try:
            for _ in range(BATCH):
                packets.append(read(fd, LARGEST_PACKET))
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            broken = Failure(error)  # type: ignore[no-untyped-call]
        if packets and self._user is not None:
            self.received += len(packets)
            try:
                self._user.packets_leaving(packets)
            except Exception:
                _log.failure("{name}: packets were lost", name=self.name)
        return broken

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
        system.attach(fd, name)
        system.configure(name, address, address6, mtu)
    except OSError as error:
        if fd >= 0:
            system.close(fd)
        raise DeviceError(_advice(name, error)) from error
    return KernelDevice(reactor, system, fd, name, mtu)


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
