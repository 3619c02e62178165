"""Give a network interface its addresses, MTU and link state.

By ioctl (netdevice(7)) and not by netlink: five system calls at start are not worth the 0.2 s that
importing a netlink library takes. The kernel adds the route of each address's network by itself.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from ipaddress import IPv4Interface, IPv6Interface

from twisted.logger import Logger

_log = Logger()

# linux/sockios.h
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
SIOCSIFADDR = 0x8916
SIOCSIFNETMASK = 0x891C
SIOCSIFMTU = 0x8922
SIOCGIFINDEX = 0x8933

IFF_UP = 1

# struct ifreq is a name and a union of 24 bytes; for IPv6, struct in6_ifreq.
_FLAGS = struct.Struct("16sH22x")
_NUMBER = struct.Struct("16si20x")
_ADDRESS = struct.Struct("16sHH4s16x")
_ADDRESS6 = struct.Struct("=16sIi")


def configure(name: str, address: IPv4Interface, address6: IPv6Interface, mtu: int) -> None:
    """Set the interface's addresses and MTU, and bring it up.

    A machine whose kernel has IPv6 switched off gets the IPv4 address only.

    :param address: the machine's address with the prefix length of the network to route there.
    :param address6: the same for IPv6.
    :param mtu: in bytes.
    :raises OSError: if the kernel refuses.
    """
    interface = name.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFADDR, _ipv4(interface, address.packed))
        fcntl.ioctl(control, SIOCSIFNETMASK, _ipv4(interface, address.netmask.packed))
        fcntl.ioctl(control, SIOCSIFMTU, _NUMBER.pack(interface, mtu))
        _, index = _NUMBER.unpack(fcntl.ioctl(control, SIOCGIFINDEX, _NUMBER.pack(interface, 0)))
        _, flags = _FLAGS.unpack(fcntl.ioctl(control, SIOCGIFFLAGS, _FLAGS.pack(interface, 0)))
        fcntl.ioctl(control, SIOCSIFFLAGS, _FLAGS.pack(interface, flags | IFF_UP))
    request = _ADDRESS6.pack(address6.packed, address6.network.prefixlen, index)
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, SIOCSIFADDR, request)
    except OSError as error:
        _log.info("{name} has no IPv6 address: {error}", name=name, error=error)


def _ipv4(interface: bytes, address: bytes) -> bytes:
    return _ADDRESS.pack(interface, socket.AF_INET, 0, address)
