"""A local TCP port that several connections share.

What a NAT shows of a connection belongs to the local port that it leaves from, so that the one to
the server that observes it, those to a peer, and one that comes from there must have it in common.
"""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import error, tcp
from twisted.internet.interfaces import IConnector, IListeningPort, IReactorFDSet
from twisted.internet.protocol import ClientFactory, Factory

from tunnelmesh.errors import ListenError
from tunnelmesh.wire.endpoint import Endpoint


class TcpPort:
    """A port of this machine's own, over IPv4.

    :raises ListenError: if the system gives none.

    :ivar number: its number.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._kept: socket.socket | None = None
        try:
            if IReactorFDSet.providedBy(reactor):
                self._kept = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                _share(self._kept)
                self._kept.bind(("", 0))
                self.number = int(self._kept.getsockname()[1])
            else:
                listening = reactor.listenTCP(0, _Nobody())
                self.number = int(listening.getHost().port)
                listening.stopListening()
        except (OSError, error.CannotListenError) as problem:
            self.close()
            raise ListenError(f"no TCP port can be had ({problem})") from None

    def connect(self, remote: Endpoint, factory: ClientFactory[Any], timeout: float) -> IConnector:
        """Open a connection from it."""
        local = ("", self.number)
        if self._kept is None:
            connector: IConnector = self._reactor.connectTCP(*remote, factory, timeout, local)
            return connector
        shared = _Connector(*remote, factory, timeout, local, self._reactor)
        shared.connect()
        return shared

    def listen(self, factory: Factory[Any]) -> IListeningPort:
        """Take connections that come to it.

        :raises ListenError: if somebody else does already.
        """
        try:
            if self._kept is None:
                listening: IListeningPort = self._reactor.listenTCP(self.number, factory)
                return listening
            shared = _Port(self.number, factory, BACKLOG, "", self._reactor)
            shared.startListening()
        except error.CannotListenError as problem:
            raise ListenError(f"TCP port {self.number} cannot be had ({problem})") from None
        return shared

    def close(self) -> None:
        """Give it back, once its connections are closed."""
        if self._kept is not None:
            self._kept.close()


BACKLOG = 8
"""Connections that the kernel keeps for us: one is expected."""


class _Nobody(Factory[Any]):
    noisy = False


def _share(opened: socket.socket) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


class _Client(tcp.Client):
    def createInternetSocket(self) -> socket.socket:
        opened: socket.socket = super().createInternetSocket()
        _share(opened)
        return opened


class _Connector(tcp.Connector):
    def _makeTransport(self) -> _Client:
        return _Client(self.host, self.port, self.bindAddress, self, self.reactor)


class _Port(tcp.Port):
    def createInternetSocket(self) -> socket.socket:
        opened: socket.socket = super().createInternetSocket()
        _share(opened)
        return opened
