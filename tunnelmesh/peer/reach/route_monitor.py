"""Hear from the kernel when this machine's addresses or routes change (rtnetlink, Linux)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE (rtnetlink(7))."""

SETTLE = 0.2
"""Seconds to wait for more: taking up a network is a dozen messages."""

_BUFFER = 1 << 16


@implementer(IReadDescriptor)
class RouteMonitor:
    """Calls *changed* a moment after something changed.

    What changed is not read from the messages: the listener looks at the addresses anyway.
    """

    def __init__(self, reactor: Any, changed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._changed = changed
        self._socket: socket.socket | None = None
        self._call: Any = None

    def start(self) -> None:
        """Begin to listen; where there is no rtnetlink, do nothing."""
        family = getattr(socket, "AF_NETLINK", None)
        if family is None:
            return
        try:
            opened = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        except OSError:
            return  # a sandbox forbids it
        self._socket = opened
        opened.bind((0, _GROUPS))
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Stop listening."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """The socket's."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return "routes"

    def doRead(self) -> None:
        """Something changed, or much did and the kernel lost count; either way, look again."""
        assert self._socket is not None
        try:
            while self._socket.recv(_BUFFER):
                pass
        except OSError:
            pass
        if self._call is None or not self._call.active():
            self._call = self._reactor.callLater(SETTLE, self._changed)

    def connectionLost(self, reason: object) -> None:
        """The reactor closes everything."""
        self.stop()
