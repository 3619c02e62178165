"""The TCP machine, over a pipe that loses, reorders and repeats segments."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.lab.sim.outgoing import SEND_BUFFER
from tunnelmesh.lab.sim.segment import ACK, FIN, RST, SYN, Segment, reset_for
from tunnelmesh.lab.sim.tcp import DATA_RETRIES, SYN_RETRIES, Connection

WINDOW = 20_000


class Pair:
    """Two connections, and a pipe between them whose faults are drawn from a seed."""

    def __init__(self, seed: int = 0, loss: float = 0.0, chaos: float = 0.0) -> None:
        self.random = Random(seed)
        self.loss = loss
        self.chaos = chaos
        self.now = 0.0
        self.client = Connection(1000, WINDOW, self.random)
        self.server: Connection | None = None
        self.got = {"client": bytearray(), "server": bytearray()}
        self.reads = True
        self.segments = 0
        self._order = count()
        self._pipe: list[tuple[float, int, str, Segment]] = []

    def _send(self, to: str, segments: list[Segment]) -> None:
        for segment in segments:
            self.segments += 1
            for _ in range(1 + (self.random.random() < self.chaos)):
                if self.random.random() >= self.loss:
                    late = self.random.random() * 0.1 if self.random.random() < self.chaos else 0
                    heappush(self._pipe, (self.now + 0.01 + late, next(self._order), to, segment))

    def settle(self) -> None:
        """Read what arrived and send what is to be sent."""
        for name, connection, other in (
            ("client", self.client, "server"),
            ("server", self.server, "client"),
        ):
            if connection is not None:
                if self.reads:
                    self.got[name] += connection.read(WINDOW)
                self._send(other, connection.segments(self.now))

    def _ends(self) -> list[Connection]:
        return [self.client] + ([self.server] if self.server is not None else [])

    def run(self, until: float) -> None:
        """Go on until there is nothing to do, or the time is over."""
        self.settle()
        while True:
            events = [e.deadline for e in self._ends() if e.deadline is not None]
            if self._pipe:
                events.append(self._pipe[0][0])
            if not events or min(events) > until:
                self.now = until
                return
            self.now = max(self.now, min(events))
            if self._pipe and self._pipe[0][0] <= self.now:
                _, _, to, segment = heappop(self._pipe)
                self._arrive(to, segment)
            for end in self._ends():
                end.expire(self.now)
            self.settle()

    def _arrive(self, to: str, segment: Segment) -> None:
        end = self.client if to == "client" else self.server
        if end is None:
            if segment.flags == SYN:
                self.server = Connection.answering(segment, 1000, WINDOW, self.random)
        elif not end.closed:
            end.receive(segment, self.now)
        else:
            # As a machine does that has forgotten the connection.
            reset = reset_for(segment)
            other = "server" if to == "client" else "client"
            self._send(other, [] if reset is None else [reset])

    def connect(self) -> Connection:
        """Finish the handshake; returns the server's end."""
        self.run(self.now + 30)
        assert self.server is not None
        return self.server


class HandshakeTests(SynchronousTestCase):
    """Opening."""

    def test_opens(self) -> None:
        """Three segments open a connection."""
        pair = Pair()
        server = pair.connect()
        self.assertTrue(pair.client.connected)
        self.assertTrue(server.connected)
        self.assertEqual(pair.segments, 3)

    def test_refused(self) -> None:
        """A reset in answer to the SYN means refused; one that answers nothing means nothing."""
        pair = Pair()
        (syn,) = pair.client.segments(0.0)
        pair.client.receive(Segment(0, 12345, RST | ACK, 0), 0.1)
        self.assertIsNone(pair.client.failure)
        reset = reset_for(syn)
        assert reset is not None
        pair.client.receive(reset, 0.1)
        self.assertEqual(pair.client.failure, "refused")

    def test_nobody_answers(self) -> None:
        """SYNs are repeated, ever more slowly, and then it gives up."""
        pair = Pair(loss=1.0)
        pair.run(1000)
        self.assertEqual(pair.client.failure, "timed out")
        self.assertEqual(pair.segments, 1 + SYN_RETRIES)

    def test_smallest_segment_size(self) -> None:
        """Neither end sends more in a segment than the other takes."""
        random = Random(1)
        client = Connection(500, WINDOW, random)
        (syn,) = client.segments(0.0)
        server = Connection.answering(syn, 1400, WINDOW, random)
        client.receive(server.segments(0.0)[0], 0.0)
        server.receive(client.segments(0.0)[0], 0.0)
        server.send(bytes(5000))
        self.assertEqual({len(s.data) for s in server.segments(0.0)}, {500})


class TransferTests(SynchronousTestCase):
    """Bytes arrive whole and in order, or not at all."""

    @settings(derandomize=True, max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 2**32),
        loss=st.floats(0, 0.3),
        chaos=st.floats(0, 0.5),
        sizes=st.lists(st.integers(1, 30_000), min_size=1, max_size=5),
    )
    def test_any_weather(self, seed: int, loss: float, chaos: float, sizes: list[int]) -> None:
        """Over any pipe that lets something through, every byte arrives, both ways, and the end."""
        pair = Pair(seed, loss, chaos)
        data = [pair.random.randbytes(size) for size in sizes]
        server = pair.connect()
        pair.run(300)
        for piece in data:
            self.assertEqual(pair.client.send(piece), len(piece))
            self.assertEqual(server.send(piece[::-1]), len(piece))
            pair.run(pair.now + pair.random.random())
        pair.client.finish()
        server.finish()
        pair.run(pair.now + 3000)
        self.assertEqual(bytes(pair.got["server"]), b"".join(data))
        self.assertEqual(bytes(pair.got["client"]), b"".join(piece[::-1] for piece in data))
        for end in (pair.client, server):
            self.assertTrue(end.at_end)
            self.assertTrue(end.closed)
            self.assertIsNone(end.failure)

    def test_fast_retransmit(self) -> None:
        """One lost segment of many is repaired without waiting for a timeout."""
        pair = Pair()
        pair.connect()
        pair.client.send(bytes(10_000))
        lost, *others = pair.client.segments(pair.now)
        start = pair.now
        pair._send("server", others)
        pair.run(start + 0.15)
        self.assertEqual(len(pair.got["server"]), 10_000)
        self.assertEqual(len(lost.data), 1000)

    def test_gives_up(self) -> None:
        """A connection whose other end is gone ends after the retries, and says why."""
        pair = Pair()
        pair.connect()
        pair.loss = 1.0
        pair.client.send(b"hello?")
        pair.run(pair.now + 3600)
        self.assertEqual(pair.client.failure, "timed out")
        self.assertEqual(pair.segments, 3 + 1 + DATA_RETRIES)

    def test_recovers_after_an_outage(self) -> None:
        """After a minute without any packet, all that was written arrives."""
        pair = Pair()
        pair.connect()
        pair.loss = 1.0
        pair.client.send(bytes(100_000))
        pair.run(pair.now + 60)
        pair.loss = 0.0
        pair.run(pair.now + 60)
        self.assertEqual(len(pair.got["server"]), 100_000)


class FlowTests(SynchronousTestCase):
    """A slow reader holds the writer back."""

    def test_window(self) -> None:
        """No more than the window is on its way to a reader that does not read."""
        pair = Pair()
        server = pair.connect()
        pair.reads = False
        self.assertEqual(pair.client.send(bytes(SEND_BUFFER + 1)), SEND_BUFFER)
        self.assertEqual(pair.client.room, 0)
        pair.run(pair.now + 300)
        self.assertEqual(server.readable, WINDOW)
        pair.reads = True
        pair.run(pair.now + 300)
        self.assertEqual(len(pair.got["server"]), SEND_BUFFER)

    def test_lost_window_update(self) -> None:
        """The writer asks now and then, so that a lost window update does not stop it for ever."""
        pair = Pair()
        server = pair.connect()
        pair.reads = False
        pair.client.send(bytes(3 * WINDOW))
        pair.run(pair.now + 10)
        server.read(WINDOW)
        self.assertEqual(len(server.segments(pair.now)), 1)
        pair.reads = True
        pair.run(pair.now + 200)
        self.assertEqual(len(pair.got["server"]), 2 * WINDOW)


class EndTests(SynchronousTestCase):
    """Closing and resetting."""

    def test_half_close(self) -> None:
        """One direction ends while the other goes on."""
        pair = Pair()
        server = pair.connect()
        pair.client.send(b"request")
        pair.client.finish()
        pair.run(pair.now + 1)
        self.assertTrue(server.at_end)
        self.assertFalse(server.closed)
        server.send(b"answer")
        server.finish()
        pair.run(pair.now + 1)
        self.assertEqual(bytes(pair.got["client"]), b"answer")
        self.assertTrue(server.closed)
        self.assertFalse(pair.client.closed, "who closes first waits for a while")
        pair.run(pair.now + 300)
        self.assertTrue(pair.client.closed)

    def test_end_overtakes_data(self) -> None:
        """An end that comes before the last data is acknowledged once the data are here too."""
        pair = Pair()
        server = pair.connect()
        server.send(bytes(2000))
        server.finish()
        first, last = server.segments(pair.now)
        pair.client.receive(last, pair.now)
        pair.client.finish()
        for segment in pair.client.segments(pair.now):
            server.receive(segment, pair.now)
        for segment in server.segments(pair.now):
            pair.client.receive(segment, pair.now)
        pair.client.receive(first, pair.now)
        self.assertTrue(pair.client.at_end)
        for segment in pair.client.segments(pair.now):
            server.receive(segment, pair.now)
        # Nothing is left to send again: the server only waits in TIME-WAIT.
        server.expire(pair.now + 300)
        self.assertTrue(server.closed)
        self.assertIsNone(server.failure)

    def test_abort(self) -> None:
        """A reset ends both ends at once."""
        pair = Pair()
        server = pair.connect()
        pair.client.send(bytes(5000))
        pair.client.abort()
        pair.run(pair.now + 1)
        self.assertEqual(server.failure, "reset")
        self.assertTrue(pair.client.closed)

    def test_blind_reset(self) -> None:
        """A reset with a number out of the window is not believed."""
        pair = Pair()
        server = pair.connect()
        pair.client.send(b"?")
        (sent,) = pair.client.segments(pair.now)
        for offset in (-1, WINDOW + 1):
            server.receive(Segment((sent.sequence + offset) % 2**32, 0, RST, 0), pair.now)
        self.assertFalse(server.closed)

    @settings(derandomize=True, max_examples=200, deadline=None)
    @given(
        st.lists(
            st.builds(
                Segment,
                st.integers(0, 2**32 - 1),
                st.integers(0, 2**32 - 1),
                st.sampled_from([0, SYN, ACK, FIN | ACK, SYN | ACK, FIN]),
                st.integers(0, 70_000),
                st.binary(max_size=20),
                st.integers(0, 70_000),
            )
        )
    )
    def test_nonsense(self, segments: list[Segment]) -> None:
        """Segments with random numbers neither raise nor disturb a connection."""
        pair = Pair()
        server = pair.connect()
        for segment in segments:
            server.receive(segment, pair.now)
            server.segments(pair.now)
        self.assertLessEqual(server.readable, WINDOW)
