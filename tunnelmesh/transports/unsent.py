"""How much a TCP connection may hold back in the kernel: little, so that signals overtake bulk.

Linux lets a send buffer grow to megabytes. On a slow network those are seconds by which a signal,
or a probe, lags behind bulk that was written before it. TCP is as fast without: what counts is
what it has in flight, and that is not limited here.
"""

from __future__ import annotations

import socket
import sys

from twisted.internet.interfaces import ISystemHandle
from twisted.protocols.policies import ProtocolWrapper

MAX_UNSENT = 1 << 17
"""Bytes that wait in the kernel for the network: 0.1 s at 10 Mbit/s, and enough to write in one go
at 1 Gbit/s."""

_TCP_NOTSENT_LOWAT = 25
"""From linux/tcp.h; the socket module of older Pythons lacks it."""


def keep_unsent_small(transport: object) -> None:
    """Let no more than :data:`MAX_UNSENT` bytes of *transport* wait in the kernel.

    Its producer is paused earlier then. Where the system cannot do this, nothing changes.

    :param transport: TCP, or TLS over TCP.
    """
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    handle = transport.getHandle() if ISystemHandle.providedBy(transport) else None
    if isinstance(handle, socket.socket) and sys.platform == "linux":
        try:
            handle.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, MAX_UNSENT)
        except OSError:
            pass
