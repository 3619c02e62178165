"""UDP over IPv4 and IPv6: a socket for each, on one port number where that is free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger
from zope.interface import implementer

from tunnelmesh.errors import ListenError
from tunnelmesh.interfaces import ITransport
from tunnelmesh.transports.udp import DatagramUser, UdpPath, UdpTransport
from tunnelmesh.wire.endpoint import Endpoint

_log = Logger()


@implementer(ITransport)
class DualStack:
    """The main socket, which is two where the machine has IPv6.

    Two, and not one for both families, so that IPv4 addresses never look like ``::ffff:`` and each
    has the offloads of its own family.

    :ivar four: the IPv4 socket.
    :ivar six: the IPv6 socket; what is sent to IPv6 endpoints without one is counted as refused.
    :ivar local_port6: its port, or None without one.
    """

    kind = "udp"

    def __init__(self, user: DatagramUser) -> None:
        self.four = UdpTransport(user)
        self.six = UdpTransport(user)
        self.local_port6: int | None = None

    def open(self, reactor: Any, port: int) -> None:
        """Listen on a UDP port, or on any free one if it is 0.

        :raises ListenError: if it is taken over IPv4. Over IPv6 it is replaced by any other.
        """
        self.four.open(reactor, port)
        try:
            try:
                self.six.open(reactor, self.local_port, "::")
            except ListenError:
                self.six.open(reactor, 0, "::")
        except ListenError as error:
            _log.info("no UDP over IPv6: {error}", error=error)
        else:
            self.local_port6 = self.six.local_port

    @property
    def local_port(self) -> int:
        """The port that was opened, over IPv4."""
        return self.four.local_port

    def close(self) -> Deferred[Any]:
        """Stop listening."""
        self.local_port6 = None
        return gatherResults([maybeDeferred(each.close) for each in (self.four, self.six)])

    def path_to(self, remote: Endpoint) -> UdpPath:
        """The way to an endpoint."""
        return self._towards(remote).path_to(remote)

    def send(self, datagrams: Sequence[bytes], remote: Endpoint) -> None:
        """Send a batch to one endpoint."""
        self._towards(remote).send(datagrams, remote)

    def _towards(self, remote: Endpoint) -> UdpTransport:
        return self.six if ":" in remote.host else self.four
