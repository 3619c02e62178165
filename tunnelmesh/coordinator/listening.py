"""The coordinator's TCP ports: open all of them, or none."""

from __future__ import annotations

import errno
import resource
import socket
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorSocket

from tunnelmesh.errors import ListenError

BACKLOG = 1024
"""Connections that the kernel keeps for us: all peers come back at once when we restart."""


class Listening:
    """Ports that are open, over IPv4 and, where the machine has it, IPv6.

    The families have sockets of their own, so that an IPv4 address never looks like ``::ffff:``.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ports: list[IListeningPort] = []
        # Each peer takes a descriptor, and systems give 1024 to those who do not ask for more.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def tcp(self, port: int, factory: Any, setting: str) -> int:
        """Open a TCP port.

        :param port: its number, or 0 for any.
        :param factory: the protocols' factory.
        :param setting: what the user would change to have another, such as ``https-port``.
        :returns: its number.
        :raises ListenError: if it cannot be had.
        """
        try:
            opened = self._reactor.listenTCP(port, factory, backlog=BACKLOG)
            self._ports.append(opened)
            number = int(opened.getHost().port)
            if IReactorSocket.providedBy(self._reactor):
                self._tcp6(number, factory)
        except (CannotListenError, OSError, OverflowError) as error:
            reason = getattr(error, "socketError", error)
            raise ListenError(
                f"cannot listen on TCP port {port} ({getattr(reason, 'strerror', reason)}):"
                f" stop what uses it, or choose another --{setting}"
            ) from None
        return number

    def _tcp6(self, port: int, factory: Any) -> None:
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as opened:
                opened.setblocking(False)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                opened.bind(("::", port))
                opened.listen(BACKLOG)
                self._ports.append(
                    self._reactor.adoptStreamPort(opened.fileno(), socket.AF_INET6, factory)
                )
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                raise
            # The machine has no IPv6.

    def close(self) -> Deferred[Any]:
        """Close all ports."""
        ports, self._ports = self._ports, []
        return gatherResults([maybeDeferred(port.stopListening) for port in ports])
