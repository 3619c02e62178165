"""Tests for :mod:`tunnelmesh.transports.udp`, on loopback."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from tunnelmesh.errors import ListenError
from tunnelmesh.interfaces import IPath, ITransport
from tunnelmesh.transports import udp
from tunnelmesh.transports.udp import UdpPath, UdpTransport
from tunnelmesh.wire.endpoint import Endpoint

PATIENCE = 5.0
"""Seconds for what happens at once on a machine that is not overloaded."""


class Batches:
    """Remembers what arrives together."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[bytes], Endpoint]] = []

    def datagrams_received(self, datagrams: Sequence[bytes], path: UdpPath) -> None:
        """A batch."""
        self.batches.append((list(datagrams), path.remote))

    @property
    def datagrams(self) -> list[bytes]:
        """All, in order."""
        return [datagram for batch, _ in self.batches for datagram in batch]


class UdpTests(TestCase):
    """Two transports on loopback."""

    def setUp(self) -> None:
        self.heard = Batches()
        self.transport = self.open(self.heard)
        self.there = Endpoint("127.0.0.1", self.transport.local_port)

    def open(self, user: Batches) -> UdpTransport:
        """A socket of its own."""
        transport = UdpTransport(user)
        transport.open(reactor, 0)
        self.addCleanup(transport.close)
        return transport

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something, for a while."""
        for _ in range(int(PATIENCE / 0.01)):
            if condition():
                return
            await deferLater(reactor, 0.01)
        self.fail("it did not happen in time")

    def raw(self) -> socket.socket:
        """A plain socket."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.bind(("127.0.0.1", 0))
        return sock

    def test_interfaces(self) -> None:
        """It is what it says."""
        verifyObject(ITransport, self.transport)
        verifyObject(IPath, self.transport.path_to(self.there))

    async def test_batch(self) -> None:
        """A batch arrives whole, in order, as from the sender's one port; and can be answered."""
        back = Batches()
        sender = self.open(back)
        batch = [bytes([n]) * (n + 1) for n in range(20)]
        sender.path_to(self.there).write(batch)
        await self.until(lambda: len(self.heard.datagrams) == 20)
        self.assertEqual(self.heard.datagrams, batch)
        source = self.heard.batches[0][1]
        self.assertEqual(source, Endpoint("127.0.0.1", sender.local_port))
        self.transport.path_to(source).write([b"back"])
        await self.until(lambda: back.datagrams == [b"back"])

    async def test_batches_by_source(self) -> None:
        """What came from different places is handed over apart."""
        one, other = self.raw(), self.raw()
        for sock, datagram in ((one, b"1"), (one, b"2"), (other, b"3"), (one, b"4")):
            sock.sendto(datagram, self.there)
        await self.until(lambda: len(self.heard.datagrams) == 4)
        ports = {d: source.port for batch, source in self.heard.batches for d in batch}
        mine, his = one.getsockname()[1], other.getsockname()[1]
        self.assertEqual(ports, {b"1": mine, b"2": mine, b"3": his, b"4": mine})

    async def test_sizes(self) -> None:
        """Like sizes, which the system may join, and unlike ones arrive as they were sent."""
        sender = self.open(Batches())
        batch = [b"a" * 1400] * 50 + [b"b" * 700] + [b"c" * 1400] * 10 + [b"d" * 9000, b"e"]
        sender.path_to(self.there).write(batch)
        await self.until(lambda: len(self.heard.datagrams) == len(batch))
        self.assertEqual(self.heard.datagrams, batch)

    async def test_nobody_there(self) -> None:
        """A port that nobody listens on costs neither the socket nor what comes afterwards."""
        closed = self.raw()
        nobody = Endpoint("127.0.0.1", closed.getsockname()[1])
        closed.close()
        for _ in range(5):
            self.transport.send([b"anybody?"], nobody)
        await deferLater(reactor, 0.02)
        self.raw().sendto(b"still here", self.there)
        await self.until(lambda: self.heard.datagrams == [b"still here"])

    async def test_empty_datagram(self) -> None:
        """A datagram without a byte, which UDP allows, breaks nothing."""
        sock = self.raw()
        for datagram in (b"", b"after", b""):
            sock.sendto(datagram, self.there)
        await self.until(lambda: b"after" in self.heard.datagrams)

    async def test_user_trips(self) -> None:
        """What goes wrong while a batch is taken costs that batch only."""
        working = self.heard.datagrams_received

        def trip(datagrams: Sequence[bytes], path: UdpPath) -> None:
            raise ZeroDivisionError

        self.heard.datagrams_received = trip  # type: ignore[method-assign]
        sock = self.raw()
        sock.sendto(b"lost", self.there)
        await self.until(lambda: self.transport.failed == 1)
        self.heard.datagrams_received = working  # type: ignore[method-assign]
        sock.sendto(b"taken", self.there)
        await self.until(lambda: self.heard.datagrams == [b"taken"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_unsendable(self) -> None:
        """What the system does not send is counted: port 0, another family, too large."""
        for datagram, to in (
            (b"x", Endpoint("127.0.0.1", 0)),
            (b"x", Endpoint("::1", 9)),
            (bytes(70_000), self.there),
        ):
            before = self.transport.refused
            self.transport.send([datagram], to)
            self.assertEqual(self.transport.refused, before + 1, to)

    def test_port_taken(self) -> None:
        """A port in use is a clear error that names the option."""
        other = UdpTransport(Batches())
        error = self.assertRaises(ListenError, other.open, reactor, self.transport.local_port)
        self.assertIn("--udp-port", str(error))

    async def test_closed(self) -> None:
        """After closing nothing is sent, nothing raises, and the reactor has no reader left."""
        transport = UdpTransport(Batches())
        transport.open(reactor, 0)
        port = transport._port
        self.assertTrue(IReadDescriptor.providedBy(port))
        closing = transport.close()
        if isinstance(closing, Deferred):
            await closing
        transport.send([b"a", b"b"], self.there)
        self.assertEqual(transport.refused, 2)
        self.assertIsNone(transport.close())
        self.assertNotIn(port, reactor.getReaders())  # type: ignore[attr-defined]

    def test_room(self) -> None:
        """The socket has room for what arrives in some milliseconds, where the system allows."""
        room = self.transport._port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        plain = self.raw().getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.assertGreaterEqual(room, plain)
        self.assertGreater(udp.BUFFER, plain)
