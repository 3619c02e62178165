"""Tests for :mod:`tunnelmesh.transports.tcp`."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tunnelmesh.interfaces import IPath
from tunnelmesh.paths.selection import Flow
from tunnelmesh.transports.tcp import QUEUE, STRANGER_FRAME, TcpPath
from tunnelmesh.wire import frame
from tunnelmesh.wire.endpoint import Endpoint

THERE = Endpoint("198.51.100.7", 4000)


class Transport(StringTransport):
    """A TCP connection that keeps what it was told to send."""

    aborted = False

    def __init__(self) -> None:
        super().__init__(IPv4Address("TCP", "192.168.1.2", 5000), IPv4Address("TCP", *THERE))

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def abortConnection(self) -> None:
        self.aborted = True


class User:
    """Who uses a path; remembers what happened."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def path_opened(self, path: TcpPath) -> None:
        self.events.append("opened")

    def datagrams_received(self, datagrams: Any, path: TcpPath) -> None:
        self.events.append(list(datagrams))

    def path_lost(self, path: TcpPath) -> None:
        self.events.append("lost")


class TcpPathTests(SynchronousTestCase):
    """One end of a connection."""

    def setUp(self) -> None:
        """An open path."""
        self.user = User()
        self.path = TcpPath(self.user)
        self.transport = Transport()
        self.path.makeConnection(self.transport)

    def sent(self) -> list[bytes]:
        """The datagrams that were sent."""
        frames = frame.FrameDecoder().receive(self.transport.value())
        return [each for _, body in frames for each in frame.decode_batch(body)]

    def test_path(self) -> None:
        """It is a path, and says where it leads."""
        verifyObject(IPath, self.path)
        self.assertEqual((self.path.kind, self.path.remote), ("tcp", THERE))
        self.assertEqual(self.path.way, Flow("tcp", 5000, THERE))
        self.assertTrue(self.transport.no_delay)
        self.assertEqual(self.user.events, ["opened"])

    @given(st.lists(st.binary(min_size=1, max_size=40_000), min_size=1, max_size=6))
    @settings(max_examples=50, derandomize=True, deadline=None)
    def test_round_trip(self, datagrams: list[bytes]) -> None:
        """Batches arrive as they were sent, by whatever frames."""
        self.setUp()
        self.path.trust(self.user)
        self.path.write(datagrams)
        self.path.dataReceived(self.transport.value())
        self.assertEqual(self.user.events, ["opened", datagrams])

    def test_full(self) -> None:
        """While the connection is full, some is kept and the rest dropped and counted."""
        self.path.pauseProducing()
        for number in range(400):
            self.path.write([bytes([number % 256]) * 1000])
        self.assertEqual(self.transport.value(), b"")
        self.path.resumeProducing()
        sent = self.sent()
        self.assertLessEqual(len(self.transport.value()), QUEUE)
        self.assertEqual(len(sent) + self.path.dropped, 400)
        self.assertEqual(sent, [bytes([n % 256]) * 1000 for n in range(len(sent))])
        self.path.write([b"next"])
        self.assertEqual(self.sent()[-1], b"next")

    def test_full_again(self) -> None:
        """What is sent first of what waits may fill the connection again: the rest waits on."""
        self.path.pauseProducing()
        for letter in (b"a", b"b", b"c"):
            self.path.write([letter])
        write = self.transport.write

        def fill(data: bytes) -> None:
            write(data)
            self.path.pauseProducing()

        self.patch(self.transport, "write", fill)
        for expected in ([b"a"], [b"a", b"b"], [b"a", b"b", b"c"]):
            self.path.resumeProducing()
            self.assertEqual(self.sent(), expected)

    def test_stop(self) -> None:
        """Stopped, it closes at once, and what is written is dropped and counted."""
        self.path.stopProducing()
        self.path.stopProducing()
        self.assertTrue(self.transport.aborted)
        self.path.write([b"one", b"two"])
        self.assertEqual((self.sent(), self.path.dropped), ([], 2))
        self.path.dataReceived(frame.encode_batch([b"late"]))
        self.path.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.user.events, ["opened", "lost"])

    def test_lost_while_full(self) -> None:
        """What waited when the connection ended counts as dropped."""
        self.path.pauseProducing()
        self.path.write([b"one", b"two"])
        self.path.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.path.dropped, 2)

    def test_stranger(self) -> None:
        """From who has not shown who it is no frame is taken that is longer than a probe."""
        self.path.dataReceived(frame.encode_batch([bytes(STRANGER_FRAME)]))
        self.assertTrue(self.transport.aborted)
        self.assertEqual(self.user.events, ["opened"])

    def test_trusted(self) -> None:
        """From who has, they are; and somebody else may take care of them from then on."""
        other = User()
        self.path.trust(other)
        self.path.dataReceived(frame.encode_batch([bytes(STRANGER_FRAME)]))
        self.assertEqual(other.events, [[bytes(STRANGER_FRAME)]])
        self.assertEqual(self.user.events, ["opened"])

    def test_unknown_frames(self) -> None:
        """A newer version's frames are counted and skipped."""
        self.path.dataReceived(frame.encode(77, b"?") + frame.encode_batch([b"known"]))
        self.assertEqual(self.path.unknown, 1)
        self.assertEqual(self.user.events, ["opened", [b"known"]])

    @given(st.lists(st.binary(max_size=100), max_size=8), st.booleans())
    @settings(max_examples=100, derandomize=True, deadline=None)
    def test_hostile(self, pieces: list[bytes], trusted: bool) -> None:
        """Arbitrary bytes are datagrams, or the end of the connection, and never an exception."""
        self.setUp()
        if trusted:
            self.path.trust(self.user)
        for piece in pieces:
            self.path.dataReceived(b"\x03\x00\x00" + piece)
