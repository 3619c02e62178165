"""The simulated HTTP proxy."""

from __future__ import annotations

from base64 import b64encode

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from tests.lab.sim.parts import Collect, Echo
from tunnelmesh.lab.sim import Internet

ADDRESS = "203.0.113.10"
LOGIN = b"Proxy-Authorization: Basic " + b64encode(b"user:secret") + b"\r\n"


class ProxyTests(SynchronousTestCase):
    """The only way out of a network that forwards nothing."""

    def setUp(self) -> None:
        self.internet = Internet(seed=4)
        self.internet.host(ADDRESS).listenTCP(443, Factory.forProtocol(Echo))
        self.nat = self.internet.nat("198.51.100.1", kind="proxy-only")
        self.laptop = self.nat.host()

    def ask(self, request: bytes, login: tuple[str, str] | None = None) -> Collect:
        """What a proxy answers to a request that comes in two pieces."""
        proxy = self.nat.proxy(login=login)
        client = Collect()
        endpoint = TCP4ClientEndpoint(self.laptop, proxy.host.addresses[0], proxy.port)
        connectProtocol(endpoint, client)
        self.internet.run(0.1)
        client.transport.write(request[:9])
        self.internet.run(0.1)
        client.transport.write(request[9:])
        self.internet.run(1)
        return client

    def status(self, request: bytes, login: tuple[str, str] | None = None) -> bytes:
        """The status line's code."""
        return bytes(self.ask(request, login).received[9:12])

    def test_no_other_way(self) -> None:
        """Without the proxy nothing gets out."""
        client = Collect()
        connecting = connectProtocol(TCP4ClientEndpoint(self.laptop, ADDRESS, 443, 5), client)
        self.internet.run(6)
        self.failureResultOf(connecting)

    def test_carries(self) -> None:
        """After CONNECT, bytes go both ways; what came with the request is not lost."""
        client = self.ask(b"CONNECT 203.0.113.10:443 HTTP/1.1\r\nHost: x\r\n\r\nhello")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 200 "))
        self.assertTrue(client.received.endswith(b"\r\n\r\nhello"))
        client.transport.write(b"x" * 300_000)
        self.internet.run(5)
        self.assertTrue(client.received.endswith(b"hello" + b"x" * 300_000))
        client.transport.loseConnection()
        self.internet.run(5)
        self.assertIsNotNone(client.lost)

    def test_password(self) -> None:
        """With a login, only who knows it gets through."""
        connect = b"CONNECT 203.0.113.10:443 HTTP/1.1\r\n"
        login = ("user", "secret")
        client = self.ask(connect + b"\r\n", login)
        self.assertIn(b" 407 ", client.received)
        self.assertIn(b"Proxy-Authenticate: Basic", client.received)
        self.assertIsNotNone(client.lost)

    def test_right_password(self) -> None:
        """The right login is accepted."""
        connect = b"CONNECT 203.0.113.10:443 HTTP/1.1\r\n"
        self.assertEqual(self.status(connect + LOGIN + b"\r\n", ("user", "secret")), b"200")

    def test_other_port(self) -> None:
        """CONNECT goes to the allowed ports only."""
        self.assertEqual(self.status(b"CONNECT 203.0.113.10:22 HTTP/1.1\r\n\r\n"), b"403")

    def test_unreachable(self) -> None:
        """A target that refuses is a bad gateway."""
        self.internet.host("203.0.113.20")
        self.assertEqual(self.status(b"CONNECT 203.0.113.20:443 HTTP/1.1\r\n\r\n"), b"502")

    def test_other_method(self) -> None:
        """It is for CONNECT only."""
        self.assertEqual(self.status(b"GET http://x/ HTTP/1.1\r\n\r\n"), b"405")

    def test_endless_request(self) -> None:
        """A request without an end is refused."""
        self.assertEqual(self.status(b"CONNECT " + b"x" * 20_000), b"400")
