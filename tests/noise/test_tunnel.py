"""From nothing to a session, and what comes out of it."""

from __future__ import annotations

from itertools import pairwise

from tests.noise.pair import Pair, TunnelTestCase, ip
from tunnelmesh.noise.outputs import Deliver, Established, GaveUp, Transmit
from tunnelmesh.noise.timers import (
    KEEPALIVE_TIMEOUT,
    REKEY_ATTEMPT_TIME,
    REKEY_JITTER,
    REKEY_TIMEOUT,
)
from tunnelmesh.noise.tunnel import QUEUE


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
