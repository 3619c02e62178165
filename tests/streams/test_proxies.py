"""Tests for :mod:`tunnelmesh.streams.proxies`."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from tests.streams.loopback import LOOPBACK, LoopbackStreams, LoopbackTestCase
from tunnelmesh.errors import ListenError
from tunnelmesh.streams.proxies import Proxies

NETWORKS = IPv4Network("100.96.0.0/16"), IPv6Network("fd74:6d01:203::/48")


class ListenTests(LoopbackTestCase):
    """Where they listen."""

    def warnings(self, host: str) -> list[str]:
        """Listen on a host, and return what is warned of."""
        events: list[str] = []

        def observe(event: object) -> None:
            if event["log_level"].name == "warn":  # type: ignore[index]
                events.append(event["host"])  # type: ignore[index]

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        proxies = Proxies(self.machine, self.streams, NETWORKS, (host, 1080), None)
        proxies.start()
        self.successResultOf(proxies.stop())
        globalLogPublisher.removeObserver(observe)
        return events

    def test_where(self) -> None:
        """Each listens where it is told to, or not at all, and says where."""
        proxies = Proxies(self.machine, self.streams, NETWORKS, None, None)
        proxies.start()
        self.assertEqual(proxies.listen, {})
        both = ((LOOPBACK, 1080), (LOOPBACK, 3128))
        proxies = Proxies(self.machine, self.streams, NETWORKS, *both)
        proxies.start()
        self.assertEqual(
            proxies.listen, {"socks": "127.0.0.1:1080", "http_proxy": "127.0.0.1:3128"}
        )
        self.connect(1080)
        self.connect(3128)

    def test_taken(self) -> None:
        """A port that is taken is one clear error, and what was opened before it is closed."""
        both = ((LOOPBACK, 1080), (LOOPBACK, 80))
        proxies = Proxies(self.machine, self.streams, NETWORKS, *both)
        error = self.assertRaises(ListenError, proxies.start)
        self.assertIn("127.0.0.1 port 80", str(error))
        self.assertIn("--http-proxy", str(error))
        self.successResultOf(proxies.stop())
        Proxies(self.machine, self.streams, NETWORKS, (LOOPBACK, 1080), None).start()

    def test_warned(self) -> None:
        """Where others can connect, too, that is said."""
        self.assertEqual(self.warnings(LOOPBACK), [])
        self.assertEqual(self.warnings("0.0.0.0"), ["0.0.0.0"])


class RealPortTests(TestCase):
    """The same, on this machine."""

    async def test_taken(self) -> None:
        """The error says what the system says."""
        port = reactor.listenTCP(0, Factory(), interface=LOOPBACK)
        self.addCleanup(port.stopListening)
        where = (LOOPBACK, port.getHost().port)
        proxies = Proxies(reactor, LoopbackStreams(reactor), NETWORKS, where, None)
        error = self.assertRaises(ListenError, proxies.start)
        self.assertIn("Address already in use", str(error))
        self.assertIn("choose another --socks", str(error))

    async def test_no_such_host(self) -> None:
        """A host that is none of this machine's is an error, too."""
        proxies = Proxies(reactor, LoopbackStreams(reactor), NETWORKS, ("192.0.2.1", 1080), None)
        self.assertRaises(ListenError, proxies.start)

    async def test_localhost(self) -> None:
        """A name will do."""
        proxies = Proxies(reactor, LoopbackStreams(reactor), NETWORKS, ("localhost", 0), None)
        proxies.start()
        self.assertTrue(proxies.listen["socks"].startswith("127.0.0.1:"))
        await proxies.stop()
