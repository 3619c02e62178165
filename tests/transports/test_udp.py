"""Tests for :mod:`tunnelmesh.transports.udp`, on loopback."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from itertools import groupby

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from tunnelmesh.bulk.run import Run
from tunnelmesh.errors import ListenError
from tunnelmesh.interfaces import IPath, ITransport
from tunnelmesh.transports import udp
from tunnelmesh.transports.offload import cut, send_run
from tunnelmesh.transports.udp import UdpPath, UdpTransport
from tunnelmesh.wire.endpoint import Endpoint

PATIENCE = 5.0
"""Seconds for what happens at once on a machine that is not overloaded."""


class Batches:
    """Remembers what arrives together."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[bytes], Endpoint]] = []
        self.records: list[bytes] = []
        self.segments: list[int] = []
        self.order: list[str] = []

    def datagrams_received(self, datagrams: Sequence[bytes], path: UdpPath) -> None:
        """A batch."""
        self.batches.append((list(datagrams), path.remote))
        self.order.append("datagrams")

    def run_received(self, messages: memoryview, segment: int, path: UdpPath) -> None:
        """Datagrams of records."""
        self.records += cut(messages, segment)
        self.segments.append(segment)
        self.order.append("records")

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
        batch = [bytes([65 + n]) * (n + 1) for n in range(20)]
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

    async def test_run(self) -> None:
        """A run arrives as its datagrams, however many and however its memory is parted."""
        data = bytes(range(10, 251)) * 300
        there = self.open(Batches()).path_to(self.there)
        there.write_run(Run([memoryview(data)], 700, 104))
        there.write_run(Run([data[:1000], memoryview(data)[1000:3000]], 800, 4))
        there.write_run(Run([b"one", b" alone"], 9, 1))
        sent = [data[at : at + 700] for at in range(0, len(data), 700)]
        sent += [data[at : min(at + 800, 3000)] for at in range(0, 3000, 800)] + [b"one alone"]
        await self.until(lambda: len(self.heard.datagrams) == len(sent))
        self.assertEqual(self.heard.datagrams, sent)

    async def test_records(self) -> None:
        """Records are handed over where they lie, in their order among other datagrams."""
        there = self.open(Batches()).path_to(self.there)
        records = [bytes([5, n]) * 500 for n in range(30)] + [b"\5last"]
        there.write([b"\4before"])
        there.write_run(Run(records, 1000, len(records)))
        there.write([b"\3" * 1000, b"\5" * 1000, b"\3" * 1000])
        await self.until(lambda: len(self.heard.datagrams) == 3)
        self.assertEqual(self.heard.datagrams, [b"\4before", b"\3" * 1000, b"\3" * 1000])
        self.assertEqual(self.heard.records, [*records, b"\5" * 1000])
        order = [kind for kind, _ in groupby(self.heard.order)]
        self.assertEqual(order, ["datagrams", "records", "datagrams", "records", "datagrams"])
        if self.transport.coalescing:
            self.assertEqual(self.heard.segments, [1000, 1000])

    async def test_a_link_that_takes_no_runs(self) -> None:
        """A run that the link refuses is sent one by one, and the next is tried again."""
        sent_whole = send_run
        for refusal in (errno.EINVAL, errno.EMSGSIZE, errno.EIO):

            def refuse(*arguments: object, refusal: int = refusal) -> None:
                raise OSError(refusal, "refused")

            self.patch(udp, "send_run", refuse)
            sender = self.open(Batches())
            sender.segmentation = True
            self.heard.batches.clear()
            sender.send([b"a" * 100, b"b" * 100], self.there)
            await self.until(lambda: self.heard.datagrams == [b"a" * 100, b"b" * 100])
            self.assertEqual((sender.unsegmented, sender.refused), (1, 0))
            self.patch(udp, "send_run", sent_whole)
            sender.send([b"c" * 100, b"d" * 100], self.there)
            await self.until(lambda: self.heard.datagrams[2:] == [b"c" * 100, b"d" * 100])
            self.assertEqual(sender.unsegmented, 1)

    async def test_a_full_buffer(self) -> None:
        """What the system has no room for is counted, not sent one by one."""

        def refuse(*arguments: object) -> None:
            raise BlockingIOError(errno.EAGAIN, "again")

        self.patch(udp, "send_run", refuse)
        self.transport.segmentation = True
        self.transport.send([b"a", b"b", b"c"], self.there)
        self.assertEqual((self.transport.unsegmented, self.transport.refused), (0, 3))

    async def test_a_system_without_offloads(self) -> None:
        """Without them everything arrives just so."""
        self.patch(udp, "can_segment", lambda sock: False)
        self.patch(udp, "receive_runs", lambda sock: False)
        heard = Batches()
        receiver, sender = self.open(heard), self.open(Batches())
        self.assertFalse(sender.segmentation or receiver.coalescing)
        there = sender.path_to(Endpoint("127.0.0.1", receiver.local_port))
        there.write([b"\4a", b"\4b"])
        there.write_run(Run([b"\5c\5d\5"], 2, 3))
        await self.until(lambda: len(heard.records) == 3)
        self.assertEqual(
            (heard.datagrams, heard.records), ([b"\4a", b"\4b"], [b"\5c", b"\5d", b"\5"])
        )

    def test_turns(self) -> None:
        """A flood is read in turns, so that timers and other sockets have theirs."""
        sock = self.raw()
        self.patch(udp, "BYTES", 20_000)
        self.patch(udp, "DATAGRAMS", 5)
        for size, turns in ((9000, [3, 3, 1]), (100, [5, 2])):
            for number in range(7):
                sock.sendto(bytes([65 + number]) * size, self.there)
            for turn in turns:
                self.heard.batches.clear()
                self.transport._port.doRead()
                self.assertEqual(len(self.heard.datagrams), turn)

    def test_plain_reactor(self) -> None:
        """One by one, as a reactor without batches hands them over, records are told apart too."""
        for datagram in (b"\4a", b"\5b", b""):
            self.transport.datagramReceived(datagram, ("127.0.0.1", 9))
        self.assertEqual((self.heard.datagrams, self.heard.records), ([b"\4a", b""], [b"\5b"]))

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
        self.open(Batches()).send([b"", b"", b"x"], self.there)
        await self.until(lambda: b"x" in self.heard.datagrams)
        self.assertEqual(self.heard.datagrams, [b"", b"after", b"", b"", b"", b"x"])

    async def test_user_trips(self) -> None:
        """What goes wrong while a batch is taken costs that batch only."""
        working = self.heard.datagrams_received

        def trip(datagrams: Sequence[bytes], path: UdpPath) -> None:
            raise ZeroDivisionError

        def trip_too(records: memoryview, segment: int, path: UdpPath) -> None:
            raise ZeroDivisionError

        self.heard.datagrams_received = trip  # type: ignore[method-assign]
        self.heard.run_received = trip_too  # type: ignore[method-assign]
        sock = self.raw()
        sock.sendto(b"lost", self.there)
        sock.sendto(b"\5lost", self.there)
        await self.until(lambda: self.transport.failed == 2)
        self.heard.datagrams_received = working  # type: ignore[method-assign]
        sock.sendto(b"taken", self.there)
        await self.until(lambda: self.heard.datagrams == [b"taken"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

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
        transport.path_to(self.there).write_run(Run([b"abc"], 1, 3))
        self.assertEqual(transport.refused, 5)
        self.assertIsNone(transport.close())
        self.assertNotIn(port, reactor.getReaders())  # type: ignore[attr-defined]

    def test_room(self) -> None:
        """The socket has room for what arrives in some milliseconds, where the system allows."""
        room = self.transport._port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        plain = self.raw().getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.assertGreaterEqual(room, plain)
        self.assertGreater(udp.BUFFER, plain)
