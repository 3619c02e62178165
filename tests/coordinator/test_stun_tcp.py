"""Tests for :mod:`tunnelmesh.coordinator.stun_tcp`, on the simulated internet."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import ClientFactory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.coordinator.stun import StunServer
from tunnelmesh.coordinator.stun_tcp import LIFETIME
from tunnelmesh.lab.sim import Internet
from tunnelmesh.transports.strangers import MAX_STRANGERS_EACH
from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.stun import Change, Class, Message

REQUEST = stun.encode(Message(Class.REQUEST, b"transaction!"))


class Client(Protocol):
    """Sends something, and keeps what comes back."""

    transport: Any

    def __init__(self, says: bytes) -> None:
        self.says = says
        self.heard = b""
        self.gone = False

    def connectionMade(self) -> None:
        self.transport.write(self.says)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Any) -> None:
        self.gone = True


class StunTcpTests(SynchronousTestCase):
    """The coordinator's STUN server, asked over TCP."""

    def setUp(self) -> None:
        """A server, and a machine behind a NAT."""
        self.internet = Internet(seed=3)
        self.internet.install(self)
        self.server = StunServer(self.internet.host("203.0.113.10", "203.0.113.11"), "203.0.113.10",
                                 3478, "203.0.113.11")  # fmt: skip
        self.server.startService()
        self.nat = self.internet.nat("198.51.100.1", kind="udp-blocked")
        self.client = self.nat.host(name="client")

    def ask(self, says: bytes, port: int = 3478, local: int = 0) -> Client:
        """What comes of saying something."""
        client = Client(says)
        factory: Any = ClientFactory.forProtocol(lambda: client)
        factory.noisy = False
        self.client.connectTCP("203.0.113.10", port, factory, bindAddress=("", local))
        self.internet.run(1)
        return client

    def test_observed(self) -> None:
        """Both ports answer with where the connection comes from, and leave it open."""
        for port in (3478, 3479):
            client = self.ask(REQUEST, port, 5000)
            self.assertEqual(stun.decode(client.heard).mapped, Endpoint("198.51.100.1", 5000))
            self.assertFalse(client.gone)
        self.assertEqual(self.server.counters.answered, 2)

    def test_in_pieces(self) -> None:
        """Requests may come in pieces, and several together."""
        client = self.ask(REQUEST[:7])
        client.transport.write(REQUEST[7:] + REQUEST)
        self.internet.run(1)
        self.assertEqual(len(client.heard), 2 * (20 + 12))

    def test_no_other_endpoint(self) -> None:
        """Nothing is answered from elsewhere, which over TCP is impossible."""
        change = stun.change_request(Change(6))
        client = self.ask(stun.encode(Message(Class.REQUEST, b"transaction!", (change,))))
        self.assertIs(stun.decode(client.heard).kind, Class.ERROR)

    def test_sent_away(self) -> None:
        """Who sends something else is sent away, without an answer."""
        indication = stun.encode(Message(Class.INDICATION, b"transaction!"))
        for says in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01" + bytes(40), indication):
            client = self.ask(says)
            self.assertTrue(client.gone)
            self.assertEqual(client.heard, b"")

    def test_not_for_ever(self) -> None:
        """No connection lasts, and few come from one address."""
        clients = [self.ask(REQUEST) for _ in range(3)]
        self.internet.run(LIFETIME)
        self.assertTrue(all(client.gone for client in clients))
        crowd = [Client(REQUEST) for _ in range(MAX_STRANGERS_EACH + 3)]
        for client in crowd:
            factory: Any = ClientFactory.forProtocol(lambda client=client: client)
            factory.noisy = False
            self.client.connectTCP("203.0.113.10", 3478, factory)
        self.internet.run(1)
        self.assertEqual(sum(bool(client.heard) for client in crowd), MAX_STRANGERS_EACH)
