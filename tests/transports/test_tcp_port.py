"""Tests for :mod:`tunnelmesh.transports.tcp_port`, with real sockets."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.trial.unittest import TestCase

from tunnelmesh.errors import ListenError
from tunnelmesh.transports.tcp_port import TcpPort
from tunnelmesh.wire.endpoint import Endpoint


class Client(ClientFactory):
    """Fires with where the connection leaves from, or with the failure."""

    noisy = False

    def __init__(self) -> None:
        self.done: Deferred[int] = Deferred()

    def buildProtocol(self, addr: Any) -> Protocol:
        protocol = Protocol()
        protocol.connectionMade = lambda: self.done.callback(protocol.transport.getHost().port)
        return protocol

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self.done.errback(reason)


class Server(Factory):
    """Fires with the port that a connection comes from, for each."""

    noisy = False

    def __init__(self, expected: int) -> None:
        self.ports: list[int] = []
        self.done: Deferred[list[int]] = Deferred()
        self._expected = expected

    def buildProtocol(self, addr: Any) -> Protocol:
        self.ports.append(addr.port)
        if len(self.ports) == self._expected:
            self.done.callback(self.ports)
        return Protocol()


class TcpPortTests(TestCase):
    """One port, several connections."""

    def setUp(self) -> None:
        """A port of our own."""
        self.port = TcpPort(reactor)
        self.addCleanup(self.port.close)

    def listen(self, factory: Factory) -> Endpoint:
        """A server somewhere else."""
        listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        return Endpoint("127.0.0.1", listening.getHost().port)

    def connect(self, remote: Endpoint) -> Client:
        """A connection from the port."""
        client = Client()
        connector = self.port.connect(remote, client, 2)
        self.addCleanup(connector.disconnect)
        return client

    def test_shared(self) -> Deferred[None]:
        """Two connections leave from it, and one arrives at it, at the same time."""

        async def run() -> None:
            servers = [Server(1), Server(1)]
            clients = [self.connect(self.listen(server)) for server in servers]
            for server, client in zip(servers, clients, strict=True):
                self.assertEqual(await client.done, self.port.number)
                self.assertEqual(await server.done, [self.port.number])
            here = Server(1)
            listening = self.port.listen(here)
            self.addCleanup(listening.stopListening)
            other = TcpPort(reactor)
            self.addCleanup(other.close)
            client = Client()
            connector = other.connect(Endpoint("127.0.0.1", self.port.number), client, 2)
            self.addCleanup(connector.disconnect)
            await client.done
            self.assertEqual(await here.done, [other.number])

        return Deferred.fromCoroutine(run())

    def test_closed(self) -> Deferred[None]:
        """Who does not listen refuses: an attempt may fail at once."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            client = self.connect(Endpoint(*nobody.getsockname()))
        failed = self.assertFailure(client.done, Exception)
        failed.addCallback(lambda _: None)
        return failed

    def test_taken(self) -> None:
        """A port that a stranger listens on is one clear error."""
        with socket.socket() as stranger:
            stranger.bind(("", 0))
            stranger.listen()
            self.port.number = stranger.getsockname()[1]
            self.assertRaises(ListenError, self.port.listen, Server(1))
