"""Tests for :mod:`tunnelmesh.nat.punch`."""

from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.nat import punch
from tunnelmesh.nat.punch import Punch
from tunnelmesh.wire.endpoint import Endpoint

A = Endpoint("198.51.100.7", 4000)
B = Endpoint("192.168.1.7", 4000)
NEW = Endpoint("198.51.100.7", 61234)


def endpoints(number: int) -> list[Endpoint]:
    """That many different ones."""
    return [Endpoint("203.0.113.1", port) for port in range(1, number + 1)]


class PunchTests(SynchronousTestCase):
    """One attempt."""

    def start(self, *candidates: Endpoint) -> Punch:
        """An attempt that starts at 10 s."""
        return Punch(candidates, 10.0, count(1).__next__)

    def play(self, attempt: Punch) -> list[tuple[float, Endpoint]]:
        """Call it whenever it wants; what it sent, and when."""
        sent = []
        while attempt.deadline is not None:
            now = attempt.deadline
            sent += [(now - 10.0, endpoint) for _, endpoint in attempt.expire(now)]
        return sent

    def test_waits_for_the_start(self) -> None:
        """Nothing is sent before the moment that was agreed on."""
        attempt = self.start(A)
        self.assertEqual(attempt.deadline, 10.0)
        self.assertEqual(attempt.expire(9.99), [])
        self.assertEqual([endpoint for _, endpoint in attempt.expire(10.0)], [A])

    def test_rounds(self) -> None:
        """All candidates are probed in every round, likeliest first, and then it is over."""
        sent = self.play(self.start(A, B))
        for round_, at in enumerate(punch.ROUNDS):
            for (when, endpoint), expected in zip(
                sent[2 * round_ : 2 * round_ + 2], (A, B), strict=True
            ):
                self.assertAlmostEqual(when, at)
                self.assertEqual(endpoint, expected)
        self.assertEqual(len(sent), 2 * len(punch.ROUNDS))

    def test_bounded(self) -> None:
        """However many candidates are named, an attempt is about a hundred packets."""
        attempt = self.start(*endpoints(1000))
        self.assertLessEqual(len(self.play(attempt)), punch.MAX_CANDIDATES * len(punch.ROUNDS))
        self.assertEqual(attempt.probes, punch.MAX_CANDIDATES * len(punch.ROUNDS))

    def test_doubles_count_once(self) -> None:
        """The same endpoint told twice is one candidate."""
        self.assertEqual(len(self.play(self.start(A, A, A))), len(punch.ROUNDS))

    def test_late_timer_skips_rounds(self) -> None:
        """After a stall, the rounds that were missed are one."""
        attempt = self.start(A)
        self.assertEqual(len(attempt.expire(10.0 + punch.ROUNDS[4])), 1)
        self.assertAlmostEqual(attempt.deadline or 0.0, 10.0 + punch.ROUNDS[5])

    def test_peer_reflexive_is_probed_at_once(self) -> None:
        """An endpoint that nobody named is answered at once, and in the rounds that follow."""
        attempt = self.start(A)
        attempt.expire(10.0)
        [(token, endpoint)] = attempt.seen(NEW, 10.01)
        self.assertEqual(endpoint, NEW)
        self.assertEqual(attempt.seen(NEW, 10.02), [])
        self.assertEqual([e for _, e in attempt.expire(10.0 + punch.ROUNDS[1])], [NEW, A])
        self.assertAlmostEqual(attempt.ponged(token, 10.11) or 0.0, 0.1)

    def test_strangers_endpoints_are_bounded(self) -> None:
        """Replayed pings from ever new places do not make us probe them all."""
        attempt = self.start(A)
        sent = [ping for each in endpoints(1000) for ping in attempt.seen(each, 10.0)]
        self.assertEqual(len(sent), punch.MAX_CANDIDATES - 1)

    def test_pong_counts_once(self) -> None:
        """A token is good for one round trip; others' tokens for none."""
        attempt = self.start(A)
        [(token, _)] = attempt.expire(10.0)
        self.assertIsNone(attempt.ponged(token + 1, 10.02))
        self.assertAlmostEqual(attempt.ponged(token, 10.02) or 0.0, 0.02)
        self.assertIsNone(attempt.ponged(token, 10.03))

    def test_stop(self) -> None:
        """Once a path is proven, no more is sent."""
        attempt = self.start(A)
        attempt.expire(10.0)
        attempt.stop()
        self.assertIsNone(attempt.deadline)
        self.assertEqual(attempt.expire(11.0), [])

    def test_nobody_to_probe(self) -> None:
        """A peer without candidates is waited for, since it may show up by itself."""
        attempt = self.start()
        attempt.expire(10.0)
        self.assertEqual(len(attempt.seen(NEW, 10.5)), 1)
