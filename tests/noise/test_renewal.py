"""Sessions that are renewed, run out, or are lost with the machine that had them."""

from __future__ import annotations

from tests.noise.pair import EPOCH, Side, TunnelTestCase, ip
from tunnelmesh.noise.session import REJECT_AFTER_TIME, REKEY_AFTER_TIME
from tunnelmesh.noise.timers import (
    KEEPALIVE_TIMEOUT,
    LAST_CALL,
    REKEY_JITTER,
    REKEY_TIMEOUT,
    URGENT_INTERVAL,
)


class RekeyTests(TunnelTestCase):
    """Renewal."""

    def test_initiator_renews(self) -> None:
        """At REKEY-AFTER-TIME, sending, the initiator renews; nothing is lost meanwhile."""
        self.established()
        for n in range(400):
            self.a.send(b"%d" % n)
            self.b.send(b"%d" % n)
            self.pair.run(1)
        self.assertEqual(self.b.received, [ip(b"%d" % n) for n in range(400)])
        self.assertEqual(self.a.received, [ip(b"%d" % n) for n in range(400)])
        self.assertEqual(self.a.initiations(), [1000 + n * REKEY_AFTER_TIME for n in range(4)])
        self.assertEqual(self.b.initiations(), [])

    def test_old_session_still_opens(self) -> None:
        """A packet sealed before the renewal, and late, is delivered."""
        self.established()
        self.a.send(b"late")
        late = self.pair.wire.pop()[1]
        self.a.initiate(urgent=True)
        self.pair.now += URGENT_INTERVAL
        self.a.initiate(urgent=True)
        self.pair.settle()
        self.assertEqual(self.a.established(), 2)
        self.b.handle(late)
        self.assertEqual(self.b.received, [ip(b"late")])

    def test_initiator_that_only_receives(self) -> None:
        """It renews shortly before the session is rejected, so that the stream goes on."""
        self.established()
        for _ in range(200):
            self.b.send(b"stream")
            self.pair.run(1)
        self.assertEqual(len(self.a.received), 200)
        renewal = self.a.initiations()[1] - 1000
        self.assertTrue(REKEY_AFTER_TIME <= renewal <= LAST_CALL, renewal)

    def test_last_call(self) -> None:
        """Even if its passive keepalives did not renew the session before."""
        self.established()
        self.pair.run(LAST_CALL)
        self.assertEqual(len(self.a.initiations()), 1)
        self.b.send(b"late")
        self.pair.settle()
        self.assertEqual(len(self.a.initiations()), 2)

    def test_rekey_without_an_answer(self) -> None:
        """While it gets no answer, the old session goes on until it is rejected."""
        self.established()
        self.pair.run(REKEY_AFTER_TIME)
        self.pair.cut = True
        self.a.send(b"lost")
        self.pair.run(REKEY_TIMEOUT / 2)
        self.pair.cut = False
        self.a.send(b"old session")
        self.pair.settle()
        self.assertEqual(self.b.received, [ip(b"old session")])
        self.assertEqual(self.a.established(), 1)
        self.pair.run(REKEY_TIMEOUT)
        self.assertEqual(self.a.established(), 2)


class ExpiryTests(TunnelTestCase):
    """The end of a session."""

    def test_idle(self) -> None:
        """An idle tunnel is silent, forgets its keys in time, and is there again when needed."""
        self.established()
        self.pair.run(KEEPALIVE_TIMEOUT + 1)
        quiet = len(self.a.sent) + len(self.b.sent)
        self.pair.run(REJECT_AFTER_TIME)
        self.assertEqual(len(self.a.sent) + len(self.b.sent), quiet)
        for side in (self.a, self.b):
            self.assertFalse(side.tunnel.established)
            self.assertIsNone(side.tunnel.deadline)
        self.assert_talking()

    def test_late_owner(self) -> None:
        """An owner that calls expire() late cannot make an old session seal or open."""
        self.established()
        self.a.send(b"too late")
        late = self.pair.wire.pop()[1]
        self.pair.now += REJECT_AFTER_TIME
        self.assertEqual(self.b.handle(late), [])
        self.assertEqual(self.b.device.counters.expired, 1)
        self.a.send(b"new session")
        self.assertEqual(self.pair.wire[-1][1][0][:4], b"\1\0\0\0")
        self.pair.settle()
        self.assertEqual(self.b.received, [ip(b"new session")])

    def test_removed(self) -> None:
        """A removed peer gets silence and leaves nothing behind."""
        self.established()
        self.a.send(b"x")
        self.b.device.remove_peer(self.b.tunnel)
        self.pair.settle()
        self.assertEqual(self.b.received, [])
        self.assertEqual(self.b.device.counters.unknown_index, 1)
        self.assertIsNone(self.b.tunnel.deadline)
        self.a.initiate(urgent=True)
        self.pair.now += URGENT_INTERVAL
        self.a.initiate(urgent=True)
        before = len(self.b.sent)
        self.pair.settle()
        self.assertEqual(len(self.b.sent), before)
        self.assertEqual(self.b.device.counters.unknown_peer, 1)


class RestartTests(TunnelTestCase):
    """A machine that has lost all but its key."""

    def restart(self, side: Side) -> None:
        """Boot one side; the other keeps its state."""
        side.boot()
        side.meet()

    def test_restarted_side_speaks(self) -> None:
        """Its initiation is later than the last one, so it is back at once."""
        self.established()
        for side in (self.a, self.b):
            self.pair.run(0.1)
            self.restart(side)
            side.send(b"back")
            self.pair.settle()
            self.assertEqual(side.other.received.pop(), ip(b"back"))
            self.assert_talking()

    def test_other_side_notices(self) -> None:
        """If the restarted side is silent, the other one's packets call it back."""
        self.established()
        self.pair.run(1)
        self.restart(self.b)
        self.a.send(b"lost")
        self.pair.run(KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + REKEY_JITTER)
        self.assertEqual(self.b.device.counters.unknown_index, 1)
        self.assert_talking()

    def test_both(self) -> None:
        """Both lose everything."""
        self.established()
        self.pair.run(0.1)
        self.restart(self.a)
        self.restart(self.b)
        self.assert_talking()

    def test_wall_clock_set_back(self) -> None:
        """While running, initiations rise although the wall clock does not."""
        self.established()
        wall = [EPOCH + self.pair.now]
        self.a.device._local.clock._wall = lambda: wall[0]
        for step in (0, 0, -1000, 0):
            wall[0] += step
            self.pair.now += REKEY_TIMEOUT
            self.a.initiate()
            self.pair.settle()
        self.assertEqual(self.a.established(), 5)
