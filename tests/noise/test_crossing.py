"""Initiations that hurry, and initiations that cross."""

from __future__ import annotations

from tests.noise.pair import Side, TunnelTestCase, ip
from tunnelmesh.noise.timers import (
    REKEY_TIMEOUT,
    URGENT_INTERVAL,
)


class UrgentTests(TunnelTestCase):
    """Initiations that do not wait."""

    def test_ordinary_ones_wait(self) -> None:
        """Asking again within REKEY-TIMEOUT sends nothing."""
        self.a.initiate()
        self.pair.now += REKEY_TIMEOUT - 0.1
        self.a.initiate()
        self.assertEqual(len(self.a.sent), 1)

    def test_urgent_ones_do_not(self) -> None:
        """An urgent one goes at once, on a path that works now."""
        self.a.initiate()
        self.pair.wire.clear()
        self.pair.now += URGENT_INTERVAL
        self.a.initiate(urgent=True)
        self.assertEqual(len(self.a.sent), 2)
        self.pair.settle()
        self.assert_talking()

    def test_not_too_often(self) -> None:
        """Many urgent ones make one each interval, and the last of them is not forgotten."""
        self.pair.cut = True
        for _ in range(100):
            self.a.initiate(urgent=True)
            self.pair.run(0.01)
        self.assertEqual(len(self.a.initiations()), 4)
        self.pair.cut = False
        self.pair.run(URGENT_INTERVAL)
        self.assertTrue(self.a.tunnel.established)


class CrossingTests(TunnelTestCase):
    """Both sides begin at the same moment."""

    def assert_converged(self) -> None:
        """Both talk at once, and later only one of them renews the session."""
        self.assert_talking()
        for _ in range(30):
            self.assert_talking()
            self.pair.run(5)
        self.assertEqual(len(self.a.initiations()) + len(self.b.initiations()), 2 + 1)
        self.assertEqual(self.pair.now - 1000, 150)

    def test_in_step(self) -> None:
        """Initiations, responses and first packets all cross."""
        self.a.send(b"from a")
        self.b.send(b"from b")
        self.pair.settle()
        self.assertEqual(self.a.received, [ip(b"from b")])
        self.assertEqual(self.b.received, [ip(b"from a")])
        self.assert_converged()

    def test_one_ahead(self) -> None:
        """One side's initiation travels while the other side's handshake completes."""
        for ahead in (self.a, self.b):
            self.setUp()
            ahead = self.pair.a if ahead.name == "a" else self.pair.b
            ahead.initiate()
            ahead.other.initiate()
            late = next(entry for entry in self.pair.wire if entry[0] is ahead)
            self.pair.wire.remove(late)
            self.pair.settle()
            self.pair.wire.append(late)
            self.pair.settle()
            self.assert_converged()

    def test_one_response_lost(self) -> None:
        """Then the other one's session is used."""
        for unlucky in ("a", "b"):
            self.setUp()
            side: Side = getattr(self.pair, unlucky)
            self.a.initiate()
            self.b.initiate()
            for _ in range(2):
                target, datagrams = self.pair.wire.popleft()
                target.handle(datagrams)
            lost = next(entry for entry in self.pair.wire if entry[0] is side)
            self.pair.wire.remove(lost)
            self.pair.settle()
            self.assert_converged()

    def test_both_urgent(self) -> None:
        """Told of each other at the same moment, they need one handshake's time."""
        self.a.initiate(urgent=True)
        self.b.initiate(urgent=True)
        self.pair.settle()
        self.assert_converged()
