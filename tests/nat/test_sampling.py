"""Several sockets ask, and what they are told comes out in order."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.nat.model import PRIMARY, entropy
from tunnelmesh.coordinator.stun_answer import answer
from tunnelmesh.nat.query import SILENCE
from tunnelmesh.nat.sampling import BURST, BURSTS, SOCKETS, Answer, Ask, Sampled, Sampling
from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint


def external(socket: int) -> Endpoint:
    """Where that socket is seen."""
    return Endpoint("198.51.100.7", 40000 + socket)


def answered(ask: Ask) -> bytes:
    """The server's answer."""
    told = answer(stun.decode(ask.send.datagram), external(ask.socket), PRIMARY, PRIMARY)
    assert told is not None
    return stun.encode(told[0])


class SamplingTests(SynchronousTestCase):
    """One look at a NAT."""

    def setUp(self) -> None:
        self.sampling = Sampling(PRIMARY, entropy(), 10.0)

    def expire(self, now: float) -> list[Ask]:
        """Call it; what it asks."""
        outputs = self.sampling.expire(now)
        return [output for output in outputs if isinstance(output, Ask)]

    def test_two_bursts(self) -> None:
        """Half of the sockets ask at once, the others a moment later."""
        self.assertEqual(self.sampling.deadline, 10.0)
        first = self.expire(10.0)
        self.assertEqual([ask.socket for ask in first], list(range(BURST)))
        for ask in first:
            self.assertEqual(self.sampling.receive(ask.socket, answered(ask), PRIMARY), [])
        self.assertEqual(self.sampling.deadline, 10.0 + BURSTS[1])
        second = self.expire(10.0 + BURSTS[1])
        self.assertEqual([ask.socket for ask in second], list(range(BURST, SOCKETS)))
        # The last answer ends it; they come in any order.
        outputs = [
            output
            for ask in reversed(second)
            for output in self.sampling.receive(ask.socket, answered(ask), PRIMARY)
        ]
        times = [10.0 + BURSTS[socket // BURST] for socket in range(SOCKETS)]
        expected = tuple(Answer(n, at, external(n)) for n, at in enumerate(times))
        self.assertEqual(outputs, [Sampled(expected)])
        self.assertIsNone(self.sampling.deadline)

    def test_some_are_silent(self) -> None:
        """What gets no answer is asked again, and at last left out."""
        told = []
        now = 10.0
        outputs: list[Ask | Sampled] = []
        while self.sampling.deadline is not None:
            now = self.sampling.deadline
            outputs = self.sampling.expire(now)
            for ask in outputs:
                if isinstance(ask, Ask) and ask.socket % 2:
                    told += self.sampling.receive(ask.socket, answered(ask), PRIMARY)
        self.assertEqual(told, [])
        self.assertAlmostEqual(now, 10.0 + BURSTS[1] + SILENCE)
        (sampled,) = outputs
        assert isinstance(sampled, Sampled)
        self.assertEqual([each.socket for each in sampled.answers], [1, 3, 5, 7])

    def test_strangers(self) -> None:
        """Nothing but the server's own answer, at the socket that asked, counts."""
        ask, other = self.expire(10.0)[:2]
        good = answered(ask)
        for socket, datagram, source in (
            (ask.socket, b"", PRIMARY),
            (ask.socket, good[:-1], PRIMARY),
            (ask.socket, answered(other), PRIMARY),
            (ask.socket, good, Endpoint("192.0.2.66", 3478)),
            (other.socket, good, PRIMARY),
            (99, good, PRIMARY),
        ):
            self.assertEqual(self.sampling.receive(socket, datagram, source), [])
        self.assertEqual(self.sampling._answers, {})
