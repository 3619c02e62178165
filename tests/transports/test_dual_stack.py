"""Tests for :mod:`tunnelmesh.transports.dual_stack`, on loopback."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface.verify import verifyObject

from tests.transports.test_udp import PATIENCE, Batches
from tunnelmesh.bulk.run import Run
from tunnelmesh.errors import ListenError
from tunnelmesh.interfaces import IPath, ITransport
from tunnelmesh.transports import udp
from tunnelmesh.transports.dual_stack import DualStack
from tunnelmesh.transports.udp import MTU, MTU6
from tunnelmesh.wire.endpoint import Endpoint


class _WithoutIpv6:
    """The reactor of a machine that has no IPv6; it knows no batches either."""

    def listenUDP(self, port: int, protocol: Any, interface: str = "", size: int = 0) -> Any:
        if interface:
            raise udp.error.CannotListenError(interface, port, OSError("no such family"))
        return reactor.listenUDP(port, protocol, interface, size)  # type: ignore[attr-defined]


class DualStackTests(TestCase):
    """Two transports with both families."""

    def setUp(self) -> None:
        if not Path("/proc/net/if_inet6").read_text():
            raise SkipTest("this machine has no IPv6")
        self.heard = Batches()
        self.transport = self.open(self.heard)

    def open(self, user: Batches, port: int = 0, on: Any = reactor) -> DualStack:
        """One of them."""
        transport = DualStack(user)
        transport.open(on, port)
        self.addCleanup(transport.close)
        return transport

    def there(self, host: str) -> Endpoint:
        """Where the first one is."""
        port = self.transport.local_port6 if ":" in host else self.transport.local_port
        assert port is not None
        return Endpoint(host, port)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something, for a while."""
        for _ in range(int(PATIENCE / 0.01)):
            if condition():
                return
            await deferLater(reactor, 0.01)
        self.fail("it did not happen in time")

    def test_interfaces(self) -> None:
        """It is what it says, and its paths carry what an Ethernet frame holds of each family."""
        verifyObject(ITransport, self.transport)
        for host, mtu in (("127.0.0.1", MTU), ("::1", MTU6)):
            path = self.transport.path_to(self.there(host))
            verifyObject(IPath, path)
            self.assertEqual((path.mtu, path.way), (mtu, self.there(host)))

    async def test_each_family(self) -> None:
        """Batches and runs arrive whole and in order over either, and can be answered."""
        back = Batches()
        sender = self.open(back)
        for host in ("127.0.0.1", "::1"):
            self.heard.batches.clear()
            path = sender.path_to(self.there(host))
            batch = [bytes([65 + n]) * MTU6 for n in range(50)]
            path.write(batch)
            path.write_run(Run([b"a" * 50, b"b" * 50, b"c" * 9], 50, 3))
            sent = [*batch, b"a" * 50, b"b" * 50, b"c" * 9]
            await self.until(lambda sent=sent: len(self.heard.datagrams) == len(sent))
            self.assertEqual(self.heard.datagrams, sent)
            source = self.heard.batches[0][1]
            self.assertEqual(source.host, host)
            self.transport.path_to(source).write([host.encode()])
            await self.until(lambda host=host: host.encode() in back.datagrams)
        self.assertEqual(sender.six.unsegmented, 0)

    def test_one_number(self) -> None:
        """Both have one port number, if it is free."""
        self.assertEqual(self.transport.local_port, self.transport.local_port6)

    def test_taken(self) -> None:
        """One that somebody has over IPv6 is replaced there; over IPv4 it is an error."""
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(("::", 0))
            port = sock.getsockname()[1]
            other = self.open(Batches(), port)
            self.assertEqual(other.local_port, port)
            self.assertNotIn(other.local_port6, (None, port))
        error = self.assertRaises(ListenError, self.open, Batches(), self.transport.local_port)
        self.assertIn("--udp-port", str(error))

    async def test_without_ipv6(self) -> None:
        """Where there is no IPv6, IPv4 works, and what goes to IPv6 endpoints is counted."""
        alone = self.open(Batches(), on=_WithoutIpv6())
        self.assertIsNone(alone.local_port6)
        alone.send([b"nobody"], self.there("::1"))
        self.assertEqual(alone.six.refused, 1)
        alone.send([b"somebody"], self.there("127.0.0.1"))
        await self.until(lambda: self.heard.datagrams == [b"somebody"])
