"""UDP sockets beside the main one: opened for one hard punch, and for its path if it hits."""

from __future__ import annotations

from typing import Any

from tunnelmesh.paths.selection import Flow, Way
from tunnelmesh.transports.udp import UdpPath, UdpTransport
from tunnelmesh.wire.endpoint import Endpoint


class FreshPath(UdpPath):
    """The way from a fresh socket to an endpoint; the socket is its own."""

    __slots__ = ()
    transport: FreshUdp

    @property
    def way(self) -> Way:
        """The flow: the main socket may have another one to the same endpoint."""
        return Flow(self.kind, self.transport.port, self.remote)

    def stopProducing(self) -> None:
        """Close the socket."""
        self.transport.close()


class FreshUdp(UdpTransport):
    """A socket of its own port.

    :ivar port: the port.
    """

    port = 0

    def open(self, reactor: Any, port: int = 0, interface: str = "") -> None:
        """Listen on any free port.

        :raises ListenError: if there is none, or too many files are open.
        """
        super().open(reactor, port, interface)
        self.port = self.local_port

    def path_to(self, remote: Endpoint) -> FreshPath:
        """The way to an endpoint."""
        return FreshPath(self, remote)
