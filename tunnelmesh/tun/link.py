"""Settings of a network interface that only rtnetlink(7) knows.

One message and its answer, put together by hand for the reason given in
:mod:`tunnelmesh.tun.address`.
"""

from __future__ import annotations

import os
import socket
import struct

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h
_NETLINK_ROUTE = 0
_RTM_NEWLINK = 16
_NLM_F_REQUEST = 0x01
_NLM_F_ACK = 0x04
_IFLA_GSO_MAX_SIZE = 41
_IFLA_GSO_IPV4_MAX_SIZE = 63

_HEADER = struct.Struct("=IHHII")
_INTERFACE = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HHI")
_ANSWER = struct.Struct("=16xi")


def limit_super_packets(name: str, size: int) -> None:
    """Have the kernel hand over no larger super-packets to an interface.

    :param size: bytes of a whole IP packet. A kernel that does not know the limit for IPv4 alone
        (before Linux 6.3) takes the other for both.
    :raises OSError: if the kernel refuses.
    """
    body = _INTERFACE.pack(socket.AF_UNSPEC, 0, socket.if_nametoindex(name), 0, 0)
    for kind in (_IFLA_GSO_MAX_SIZE, _IFLA_GSO_IPV4_MAX_SIZE):
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size, kind, size)
    flags = _NLM_F_REQUEST | _NLM_F_ACK
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as kernel:
        kernel.send(_HEADER.pack(_HEADER.size + len(body), _RTM_NEWLINK, flags, 1, 0) + body)
        (error,) = _ANSWER.unpack_from(kernel.recv(4096))
    if error:
        raise OSError(-error, os.strerror(-error))
