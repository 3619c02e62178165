"""Sessions coming and going in simulated time."""

from __future__ import annotations

from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from tests.noise.pair import EPOCH, Pair, Side, ip
from tunnelmesh.noise.outputs import Deliver, Established, GaveUp, Transmit
from tunnelmesh.noise.session import REJECT_AFTER_TIME, REKEY_AFTER_TIME
from tunnelmesh.noise.timers import (
    KEEPALIVE_TIMEOUT,
    LAST_CALL,
    REKEY_ATTEMPT_TIME,
    REKEY_JITTER,
    REKEY_TIMEOUT,
    URGENT_INTERVAL,
)
from tunnelmesh.noise.tunnel import QUEUE


class TunnelTestCase(SynchronousTestCase):
    """Two machines that know each other."""

    def setUp(self) -> None:
        self.pair = Pair()
        self.a, self.b = self.pair.a, self.pair.b

    def assert_talking(self) -> None:
        """Packets pass both ways, at once."""
        for side in (self.a, self.b):
            side.send(b"ping")
            self.pair.settle()
            self.assertEqual(side.other.received[-1:], [ip(b"ping")])
            side.other.received.clear()

    def established(self) -> None:
        """Shake hands, a being the initiator."""
        self.a.send(b"first")
        self.pair.settle()
        self.b.received.clear()


class HandshakeTests(TunnelTestCase):
    """From nothing to a session."""

    def test_what_waited_goes_first(self) -> None:
        """Packets sent without a session arrive after the handshake, in order, in one batch."""
        self.a.send(b"1")
        self.a.send(b"2", b"3")
        self.assertFalse(self.a.tunnel.established)
        self.assertEqual(len(self.a.sent), 1)
        self.pair.settle()
        self.assertEqual(self.b.received, [ip(b"1"), ip(b"2"), ip(b"3")])
        self.assertEqual([type(event) for event in self.b.events], [Established, Deliver])
        self.assertTrue(self.a.tunnel.established and self.b.tunnel.established)
        self.assertEqual(self.a.tunnel.handshake_at, 1000)
        self.assertEqual(self.b.tunnel.handshake_at, 1000)
        self.assert_talking()

    def test_confirmed_by_a_keepalive(self) -> None:
        """With nothing to send, the initiator confirms the session with a keepalive."""
        self.a.initiate()
        self.pair.settle()
        self.assertTrue(self.b.tunnel.established)
        self.assertEqual(self.b.events[-1], Deliver(self.b.tunnel, []))
        self.assertEqual(len(self.a.transports()), 1)
        self.assertEqual(len(self.b.transports()), 0)
        self.assert_talking()

    def test_psk(self) -> None:
        """With the same pre-shared key they talk; a side that has another is silent to."""
        self.pair = Pair(psk=b"s" * 32)
        self.a, self.b = self.pair.a, self.pair.b
        self.established()
        self.assert_talking()
        self.b.device.remove_peer(self.b.tunnel)
        self.b.tunnel = self.b.device.add_peer(self.a.device.public_key)
        self.b.send(b"secret")
        self.pair.settle()
        self.assertFalse(self.b.tunnel.established)
        self.assertEqual(self.b.device.counters.forged_handshakes, 1)
        self.assertEqual(self.a.received, [])

    def test_queue_is_bounded(self) -> None:
        """The oldest waiting packets make room, and are counted."""
        self.a.send(*[b"%d" % n for n in range(QUEUE + 3)])
        self.assertEqual(self.a.device.counters.unsent_packets, 3)
        self.pair.settle()
        self.assertEqual(self.b.received, [ip(b"%d" % n) for n in range(3, QUEUE + 3)])

    def test_counts(self) -> None:
        """Packets and bytes are counted on both sides, keepalives are not."""
        self.a.send(b"12", b"345")
        self.pair.run(60)
        self.assertEqual((self.a.tunnel.tx_packets, self.a.tunnel.tx_bytes), (2, 45))
        self.assertEqual((self.b.tunnel.rx_packets, self.b.tunnel.rx_bytes), (2, 45))
        self.assertEqual((self.b.tunnel.tx_packets, self.a.tunnel.rx_packets), (0, 0))

    def test_lost_response(self) -> None:
        """The initiator asks again after REKEY-TIMEOUT and a little, and then it works."""
        self.a.send(b"1")
        self.pair.wire.clear()
        self.pair.run(REKEY_TIMEOUT - 0.01)
        self.assertEqual(len(self.a.initiations()), 1)
        self.pair.run(REKEY_JITTER + 0.02)
        self.assertEqual(len(self.a.initiations()), 2)
        self.assertEqual(self.b.received, [ip(b"1")])

    def test_lost_confirmation(self) -> None:
        """If the responder never hears of the session, it asks for one of its own in time."""
        self.a.initiate()
        self.b.handle(self.pair.wire.popleft()[1])
        self.pair.wire.clear()
        self.b.send(b"waiting")
        self.assertEqual(self.b.initiations(), [], "it has just answered one")
        self.pair.run(REKEY_TIMEOUT + REKEY_JITTER + 0.1)
        self.assertEqual(self.a.received, [ip(b"waiting")])
        self.assert_talking()

    def test_late_answer_to_the_one_before(self) -> None:
        """A response to an initiation that was repeated since is not taken."""
        self.a.initiate()
        late = self.pair.wire.popleft()[1]
        self.pair.now += REKEY_TIMEOUT + REKEY_JITTER
        self.a.do(self.a.tunnel.expire(self.pair.now))
        self.b.handle(late)
        self.a.handle(self.pair.wire.pop()[1])
        self.assertEqual(self.a.device.counters.unknown_index, 1)
        self.assertFalse(self.a.tunnel.established)
        self.pair.now += 1
        self.pair.settle()
        self.assert_talking()


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


class KeepaliveTests(TunnelTestCase):
    """When something is sent without having anything to say."""

    def test_passive(self) -> None:
        """What arrives is answered within KEEPALIVE-TIMEOUT, once, if nothing else was sent."""
        self.established()
        self.pair.run(KEEPALIVE_TIMEOUT - 0.1)
        self.assertEqual(self.b.transports(), [])
        self.pair.run(60)
        self.assertEqual(self.b.transports(), [1000 + KEEPALIVE_TIMEOUT])
        self.assertEqual(len(self.a.transports()), 1, "a keepalive is not answered")

    def test_no_keepalive_after_data(self) -> None:
        """Data sent back is answer enough."""
        self.established()
        self.pair.run(1)
        self.b.send(b"answer")
        self.pair.run(5)
        self.a.send(b"answer")
        self.pair.run(4.5)
        self.assertEqual(len(self.b.transports()), 1)

    def test_silence_starts_a_handshake(self) -> None:
        """Data sent, nothing back: a new session is asked for."""
        self.established()
        self.assert_talking()
        self.pair.cut = True
        self.pair.run(1)
        self.a.send(b"lost")
        wait = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
        self.pair.run(wait - 0.1)
        self.assertEqual(len(self.a.initiations()), 1)
        self.pair.run(REKEY_JITTER + 0.1)
        self.assertEqual(len(self.a.initiations()), 2)

    def test_persistent(self) -> None:
        """With it, never more than the interval passes without something sent."""
        self.b.do(self.b.tunnel.keep_alive(25, self.pair.now))
        self.pair.run(1000)
        times = [at for at, _ in self.b.sent]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        self.assertLessEqual(max(gaps), 25)
        self.assertLess(len(times), 1000 / 25 * 1.6)
        self.assertTrue(self.b.tunnel.established)
        self.b.do(self.b.tunnel.keep_alive(None, self.pair.now))
        self.pair.run(400)
        self.assertIsNone(self.b.tunnel.deadline)

    def test_persistent_goes_on_without_an_answer(self) -> None:
        """It outlasts giving up."""
        self.pair.cut = True
        self.b.do(self.b.tunnel.keep_alive(25, self.pair.now))
        self.pair.run(1000)
        self.pair.cut = False
        self.pair.run(30)
        self.assertTrue(self.b.tunnel.established)


class GiveUpTests(TunnelTestCase):
    """Nobody answers."""

    def test_attempts(self) -> None:
        """It tries about every five seconds for a minute and a half, and then says so, once."""
        self.pair.cut = True
        self.a.send(b"1", b"2")
        self.pair.run(REKEY_ATTEMPT_TIME - 0.1)
        self.assertEqual(self.a.gave_up(), 0)
        self.pair.run(600)
        self.assertEqual(self.a.events, [GaveUp(self.a.tunnel)])
        times = self.a.initiations()
        gaps = [later - earlier for earlier, later in pairwise(times)]
        self.assertGreaterEqual(min(gaps), REKEY_TIMEOUT)
        self.assertLessEqual(max(gaps), REKEY_TIMEOUT + REKEY_JITTER)
        self.assertGreater(len(set(gaps)), len(gaps) // 2, "there is jitter")
        self.assertIn(len(times), (17, 18))
        self.assertEqual(self.a.device.counters.unsent_packets, 2)
        self.assertIsNone(self.a.tunnel.deadline)

    def test_new_attempts(self) -> None:
        """A packet sent after that starts all over."""
        self.pair.cut = True
        self.a.send(b"lost")
        self.pair.run(200)
        self.pair.cut = False
        self.assert_talking()

    def test_a_packet_prolongs_the_attempts(self) -> None:
        """As long as there is something to send, it does not give up."""
        self.pair.cut = True
        for _ in range(20):
            self.a.send(b"x")
            self.pair.run(30)
        self.assertEqual(self.a.gave_up(), 0)
        self.pair.run(REKEY_ATTEMPT_TIME + REKEY_TIMEOUT + 1)
        self.assertEqual(self.a.gave_up(), 1)


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


class OutputTests(TunnelTestCase):
    """The shape of what comes out."""

    def test_batch_in_batch_out(self) -> None:
        """One batch sealed is one Transmit, and opened one Deliver."""
        self.established()
        outputs = self.a.tunnel.send([ip(b"%d" % n) for n in range(32)], self.pair.now)
        self.assertEqual([type(output) for output in outputs], [Transmit])
        assert isinstance(outputs[0], Transmit)
        outputs = self.b.device.receive(outputs[0].datagrams, b"a", self.pair.now)
        self.assertEqual(outputs, [Deliver(self.b.tunnel, [ip(b"%d" % n) for n in range(32)])])

    def test_owner(self) -> None:
        """The owner may hang anything on a tunnel."""
        self.a.tunnel.user = self
        self.established()
        self.assertIs(self.a.tunnel.user, self)
