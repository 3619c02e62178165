"""Two associations over a line that is as bad as lines are."""

from __future__ import annotations

import tracemalloc
from random import Random
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from tests.streams.wires import Pair, Reader, reader
from tunnelmesh.streams.configuration import FIRST_WINDOW
from tunnelmesh.streams.transport import HIGH

PARTS = 1420, 65_536
"""Bytes of the longest message as a whole, and in parts."""

WHOLE = Random(3).randbytes(400_000)


class StreamTests(SynchronousTestCase):
    """What goes in at one end comes out at the other."""

    def stream(self, pair: Pair, first: bytes = b"?") -> tuple[Any, Reader, Any, Reader]:
        """A stream between two: each end's transport and reader."""
        here = pair.here.open(first)
        one = reader(here)
        pair.until(lambda: pair.accepted)
        there = pair.accepted.pop()
        return here, one, there, reader(there)

    def test_first_byte(self) -> None:
        """The other side has a stream's first bytes after 1.5 round trips, and then after half."""
        pair = Pair(delay=0.1)
        for trips in (1.5, 0.5):
            pair.here.open(b"hello")
            self.assertAlmostEqual(pair.until(lambda: pair.accepted), trips * 0.2, places=2)
            self.assertEqual(reader(pair.accepted.pop()).data, b"hello")

    def test_turn(self) -> None:
        """What is written in one turn of the reactor goes in one datagram."""
        pair = Pair()
        here, _, _, there = self.stream(pair)
        pair.run(1)
        before = pair.line.messages
        for _ in range(100):
            here.write(b"x")
        pair.until(lambda: len(there.data) == 101)
        self.assertEqual(pair.line.messages, before + 1)

    def test_bad_line(self) -> None:
        """Bytes arrive exactly, both ways at once, although datagrams are lost and repeated."""
        pair = Pair(loss=0.03, repeat=0.03, jitter=0.005)
        here, one, there, other = self.stream(pair)
        for transport in (here, there):
            transport.write(WHOLE)
            transport.loseWriteConnection()
        pair.until(lambda: one.ended and other.ended)
        self.assertEqual(one.data, WHOLE)
        self.assertEqual(other.data, b"?" + WHOLE)

    def test_outage(self) -> None:
        """A line that is cut for ten minutes ends nothing, and goes on soon after it is back."""
        pair = Pair()
        here, _, _, other = self.stream(pair)
        pair.line.cut = True
        here.write(WHOLE)
        pair.run(600)
        pair.line.cut = False
        self.assertLess(pair.until(lambda: len(other.data) == len(WHOLE) + 1), 10)

    def test_half_close(self) -> None:
        """One side's end is told, and the other one goes on; then both are done."""
        pair = Pair()
        here, one, there, other = self.stream(pair)
        here.loseWriteConnection()
        pair.until(lambda: other.ended)
        self.assertIsNone(other.lost)
        there.write(WHOLE)
        there.loseConnection()
        pair.until(lambda: one.ended)
        self.assertEqual(one.data, WHOLE)
        here.loseConnection()
        for end in (one, other):
            assert end.lost is not None
            end.lost.trap(ConnectionDone)

    def test_close_while_sending(self) -> None:
        """Who closes a stream gets no more, and the other side hears that nobody reads."""
        pair = Pair()
        here, one, there, other = self.stream(pair)
        there.write(bytes(10_000_000))
        pair.run(0.1)
        here.loseConnection()
        pair.until(lambda: other.ended)
        self.assertTrue(other.deaf)
        pair.until(lambda: other.lost)
        self.assertFalse(pair.there.streams)
        self.assertLess(len(one.data), 10_000_000)

    def test_abort(self) -> None:
        """An aborted stream is over for both, and others are not."""
        pair = Pair()
        _, one, there, other = self.stream(pair)
        second = self.stream(pair)
        there.abortConnection()
        pair.until(lambda: one.lost)
        assert one.lost is not None
        one.lost.trap(ConnectionLost)
        assert other.lost is not None
        other.lost.trap(ConnectionAborted)
        second[0].write(b"still")
        pair.until(lambda: second[3].data == b"?still")

    def test_nothing_is_kept(self) -> None:
        """When all streams have ended, nothing is left of them; soon, nor of the connection."""
        pair = Pair()
        for _ in range(300):
            here, _, there, _ = self.stream(pair)
            here.loseConnection()
            there.loseConnection()
        pair.run(1)
        self.assertEqual((pair.here.streams, pair.there.streams), (0, 0))
        pair.run(200)
        self.assertEqual(pair.clock.getDelayedCalls(), [])


class BackPressureTests(SynchronousTestCase):
    """Who reads slowly holds back who writes, and nobody else."""

    stream = StreamTests.stream

    def test_reader_pauses(self) -> None:
        """Megabytes for a reader that has stopped take one window's memory, and arrive later."""
        pair = Pair(delay=0.001, room=PARTS)
        here, _, there, other = self.stream(pair)
        pair.run(1)
        there.pauseProducing()
        tracemalloc.start()
        producer = Producer(here, 5_000_000)
        here.registerProducer(producer, True)
        producer.resumeProducing()
        pair.run(10)
        self.assertLess(tracemalloc.get_traced_memory()[0], 4 * (FIRST_WINDOW + HIGH))
        tracemalloc.stop()
        self.assertEqual(other.data, b"?")
        self.assertTrue(producer.paused)
        there.resumeProducing()
        pair.until(lambda: len(other.data) == 5_000_001)

    def test_window_grows(self) -> None:
        """A reader that keeps up gets a larger window than the first."""
        pair = Pair(delay=0.05, room=PARTS)
        here, _, _, other = self.stream(pair)
        producer = Producer(here, 10_000_000)
        here.registerProducer(producer, True)
        producer.resumeProducing()
        took = pair.until(lambda: len(other.data) == 10_000_001)
        self.assertLess(took, 0.5 * 10_000_000 / FIRST_WINDOW * 0.1)

    def test_others_go_on(self) -> None:
        """A hundred readers that have stopped do not disturb one that reads."""
        pair = Pair(delay=0.001, room=PARTS)
        for _ in range(100):
            here, _, there, _ = self.stream(pair)
            there.pauseProducing()
            here.write(bytes(200_000))
        here, _, _, other = self.stream(pair)
        here.write(WHOLE)
        self.assertLess(pair.until(lambda: len(other.data) == len(WHOLE) + 1), 2)

    def test_pull_producer(self) -> None:
        """A pull producer is asked again as soon as there is room."""
        pair = Pair(delay=0.001)
        here, _, _, other = self.stream(pair)
        here.registerProducer(Pull(here, 50), False)
        pair.until(lambda: len(other.data) == 50 * 65_536 + 1)
        here.loseConnection()
        pair.until(lambda: other.ended)

    def test_producer_before_end(self) -> None:
        """A stream is closed only when its producer has written all."""
        pair = Pair(delay=0.001)
        here, _, _, other = self.stream(pair)
        producer = Producer(here, 3_000_000)
        here.registerProducer(producer, True)
        here.loseConnection()
        producer.resumeProducing()
        pair.until(lambda: other.ended)
        self.assertEqual(len(other.data), 3_000_001)

    def test_fair(self) -> None:
        """Two hundred streams at once share a line that is full evenly."""
        pair = Pair(delay=0.005, rate=2_000_000)
        ends = [self.stream(pair) for _ in range(200)]
        for here, _, _, _ in ends:
            producer = Producer(here, 1_000_000)
            here.registerProducer(producer, True)
            producer.resumeProducing()
        pair.run(2)
        got = [len(other.data) for _, _, _, other in ends]
        self.assertGreater(sum(got), 2_000_000)
        jain = sum(got) ** 2 / (len(got) * sum(size * size for size in got))
        self.assertGreater(jain, 0.9)
        self.assertGreater(min(got), 0.5 * sum(got) / len(got))


class ConnectionTests(SynchronousTestCase):
    """Connections come and go."""

    stream = StreamTests.stream

    def test_restart(self) -> None:
        """When the other side was started anew, streams end at the next word, and new ones open."""
        for mine in (True, False):
            pair = Pair()
            here, one, there, other = self.stream(pair)
            if mine:
                pair.there = pair.association(first=False)
                here.write(b"hello")
            else:
                pair.here = pair.association()
                there.write(b"hello")
            lost = one if mine else other
            self.assertLess(pair.until(lambda: lost.lost), 1)  # noqa: B023
            assert lost.lost is not None
            lost.lost.trap(ConnectionLost)
            self.assertEqual(self.stream(pair, b"again")[3].data, b"again")

    def test_both_open(self) -> None:
        """Each side opens streams of its own to the other."""
        pair = Pair()
        self.assertEqual(self.stream(pair, b"one")[3].data, b"one")
        pair.there.open(b"other")
        pair.until(lambda: pair.accepted)
        self.assertEqual(reader(pair.accepted.pop()).data, b"other")

    def test_unused(self) -> None:
        """A connection without streams is closed after a minute, and made anew when needed."""
        pair = Pair()
        here, _, there, _ = self.stream(pair)
        here.loseConnection()
        there.loseConnection()
        pair.run(120)
        before = pair.line.messages
        pair.run(600)
        self.assertEqual(pair.line.messages, before)
        self.assertEqual(self.stream(pair, b"again")[3].data, b"again")

    def test_silent_stream(self) -> None:
        """An open stream that nobody uses for hours is still there, and costs little."""
        pair = Pair()
        here, _, _, other = self.stream(pair)
        pair.run(10)
        before = pair.line.messages
        pair.run(4 * 3600)
        self.assertLessEqual(pair.line.messages - before, 4 * 60)
        here.write(b"!")
        pair.until(lambda: other.data == b"?!")

    def test_gone(self) -> None:
        """A side that is gone for good is given up in the end, and nothing is kept of it."""
        pair = Pair()
        _, one, _, other = self.stream(pair)
        pair.line.cut = True
        pair.run(3 * 3600)
        self.assertIsNotNone(one.lost)
        self.assertIsNotNone(other.lost)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_most_streams(self) -> None:
        """More streams than may be open wait for others to end."""
        pair = Pair(delay=0.001)
        opened = [pair.here.open(b"%d" % number) for number in range(300)]
        for transport in opened:
            reader(transport)
        pair.run(5)
        self.assertEqual(len(pair.accepted), 256)
        for transport in list(pair.accepted):
            reader(transport).transport.abortConnection()
        pair.run(5)
        self.assertEqual(len(pair.accepted), 300)

    def test_parts(self) -> None:
        """Datagrams are long while none is lost, and short again after a loss."""
        pair = Pair(room=PARTS, delay=0.001)
        here, _, _, other = self.stream(pair)
        self.messages(pair, here, other, 500_000)
        self.assertLess(self.messages(pair, here, other, 500_000), 100)
        pair.line.loss = 0.1
        self.messages(pair, here, other, 500_000)
        self.assertGreater(self.messages(pair, here, other, 200_000), 140)

    def messages(self, pair: Pair, transport: Any, reader: Reader, size: int) -> int:
        """Send so much; return how many messages that took, both ways."""
        before = pair.line.messages
        goal = len(reader.data) + size
        transport.write(bytes(size))
        pair.until(lambda: len(reader.data) == goal)
        return pair.line.messages - before


class Producer:
    """Writes so many bytes to a transport, whenever it may."""

    def __init__(self, transport: Any, size: int) -> None:
        self.paused = True
        self.left = size
        self._transport = transport

    def resumeProducing(self) -> None:
        self.paused = False
        while self.left and not self.paused:
            size = min(65_536, self.left)
            self.left -= size
            self._transport.write(bytes(size))
        if not self.left:
            self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.paused = True

    def stopProducing(self) -> None:
        self.left = 0


class Pull:
    """Writes one piece whenever it is asked."""

    def __init__(self, transport: Any, pieces: int) -> None:
        self._transport = transport
        self._pieces = pieces

    def resumeProducing(self) -> None:
        if self._pieces:
            self._pieces -= 1
            self._transport.write(bytes(65_536))
        else:
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        self._pieces = 0
