"""The SSH tunnel as a link: frames both ways, back-pressure, closing."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.transports.ssh_pair import HOST_KEY, MEMBER_KEY, RecordingUser, Tunnel, public
from tunnelmesh.errors import SignalError
from tunnelmesh.interfaces import ILink
from tunnelmesh.transports.ssh.channel import MAX_SIGNALS, WINDOW
from tunnelmesh.transports.ssh.transport import CLOSE_SECONDS, MAX_BACKLOG
from tunnelmesh.wire.frame import MAX_BODY, RELAY, SIGNAL, encode

BULK = encode(RELAY, b"b" * 32768)


def fill(tunnel: Tunnel, limit: int = 1000) -> int:
    """Send bulk from the client until it is refused; the number of frames taken."""
    link = tunnel.client_user.link
    for sent in range(limit):
        if not link.send_bulk(BULK):
            return sent
        tunnel.pump()
    raise AssertionError("never refused")


class OpenTests(SynchronousTestCase):
    """An honest peer and an honest coordinator."""

    def test_opens(self) -> None:
        """Both ends are links, and each knows the other's key when it opens."""
        tunnel = Tunnel()
        link = self.successResultOf(tunnel.opening)
        self.assertIs(link, tunnel.client_user.link)
        server_link = tunnel.server_user.link
        for end in (link, server_link):
            verifyObject(ILink, end)
            self.assertEqual(end.kind, "ssh")
            self.assertFalse(end.paused)
        self.assertEqual(link.key, public(HOST_KEY))
        self.assertEqual(server_link.key, public(MEMBER_KEY))
        self.assertEqual(link.remote, "192.0.2.1:2222")
        self.assertEqual(server_link.remote, "192.0.2.1:40000")
        self.assertEqual((link.proxy, server_link.proxy), ("proxy.example:3128", None))

    def test_frames_both_ways(self) -> None:
        """Frames of all sizes arrive whole and in order, in both directions."""
        tunnel = Tunnel()
        frames = [(SIGNAL, b""), (RELAY, b"x" * MAX_BODY), (99, b"new"), (SIGNAL, b"{}")]
        tunnel.client_user.link.send(b"".join(encode(*frame) for frame in frames))
        for frame in frames:
            self.assertTrue(tunnel.server_user.link.send_bulk(encode(*frame)))
        tunnel.pump()
        self.assertEqual(tunnel.server_user.frames, frames)
        self.assertEqual(tunnel.client_user.frames, frames)

    def test_one_message_a_write(self) -> None:
        """A write is one SSH message, however large."""
        tunnel = Tunnel()
        before = tunnel.client.outgoingPacketSequence
        tunnel.client_user.link.send_bulk(encode(RELAY, b"x" * MAX_BODY))
        self.assertEqual(tunnel.client.outgoingPacketSequence, before + 1)

    def test_no_plaintext(self) -> None:
        """What is sent does not appear on the wire."""
        tunnel = Tunnel()
        tunnel.client_user.link.send(encode(SIGNAL, b"plainly visible"))
        tunnel.pump()
        self.assertNotIn(b"visible", tunnel.at_client.sent)
        self.assertEqual(tunnel.server_user.frames, [(SIGNAL, b"plainly visible")])

    def test_far_more_than_a_window(self) -> None:
        """The window is re-opened as data is consumed."""
        tunnel = Tunnel()
        count = 4 * WINDOW // len(BULK)
        for _ in range(count):
            self.assertTrue(tunnel.client_user.link.send_bulk(BULK))
            tunnel.pump()
        self.assertEqual(len(tunnel.server_user.frames), count)


class BackPressureTests(SynchronousTestCase):
    """A receiver that is slow, or has stopped."""

    def test_paused_receiver_stops_the_sender(self) -> None:
        """A paused receiver gets no bulk, and its sender is paused within a window's bytes."""
        tunnel = Tunnel()
        tunnel.server_user.link.pauseProducing()
        taken = fill(tunnel)
        self.assertLessEqual(taken * len(BULK), WINDOW)
        self.assertGreater(taken * len(BULK), WINDOW // 2)
        self.assertEqual(tunnel.server_user.frames, [])
        self.assertEqual(tunnel.client_user.events, ["opened", "paused"])
        self.assertTrue(tunnel.client_user.link.paused)
        self.assertEqual(tunnel.client_user.link.refused, 1)

    def test_resumed_receiver_gets_everything(self) -> None:
        """What waited is delivered, and the sender may go on."""
        tunnel = Tunnel()
        tunnel.server_user.link.pauseProducing()
        taken = fill(tunnel)
        tunnel.server_user.link.resumeProducing()
        tunnel.pump()
        self.assertEqual(len(tunnel.server_user.frames), taken)
        self.assertEqual(tunnel.client_user.events, ["opened", "paused", "resumed"])
        self.assertTrue(tunnel.client_user.link.send_bulk(BULK))

    def test_pausing_again_while_resuming(self) -> None:
        """A user that takes one frame at a time gets each once, in order."""

        class OneAtATime(RecordingUser):
            def frames_received(self, link: ILink, frames: Sequence[tuple[int, bytes]]) -> None:
                super().frames_received(link, frames)
                link.pauseProducing()

        tunnel = Tunnel(server_user=OneAtATime())
        frames = [(RELAY, b"%d" % number) for number in range(10)]
        for frame in frames:
            tunnel.client_user.link.send_bulk(encode(*frame))
        tunnel.pump()
        for count in range(1, 11):
            self.assertEqual(tunnel.server_user.frames, frames[:count])
            tunnel.server_user.link.resumeProducing()

    def test_signals_pass_a_paused_receiver(self) -> None:
        """Signals reach a receiver that has paused, even while the sender is paused."""
        tunnel = Tunnel()
        tunnel.server_user.link.pauseProducing()
        fill(tunnel)
        for _ in range(1000):
            tunnel.client_user.link.send(encode(SIGNAL, b"s" * 1000))
            tunnel.pump()
        self.assertEqual(tunnel.server_user.frames, [(SIGNAL, b"s" * 1000)] * 1000)
        self.assertIsNone(tunnel.server_user.lost)

    def test_stalled_tcp_pauses_bulk(self) -> None:
        """A TCP connection that carries nothing pauses bulk; signals wait, and arrive after."""
        tunnel = Tunnel()
        tunnel.at_client.stalled = True
        taken = fill(tunnel)
        tunnel.client_user.link.send(encode(SIGNAL, b"late"))
        tunnel.pump()
        self.assertLess(taken * len(BULK), MAX_BACKLOG)
        self.assertEqual(tunnel.server_user.frames, [])
        tunnel.at_client.stalled = False
        tunnel.pump()
        self.assertEqual(len(tunnel.server_user.frames), taken + 1)
        self.assertEqual(tunnel.server_user.frames[-1], (SIGNAL, b"late"))
        self.assertEqual(tunnel.client_user.events, ["opened", "paused", "resumed"])

    def test_endless_signals_on_a_stalled_tcp(self) -> None:
        """Signals for an end that never reads end the link before they fill the memory."""
        tunnel = Tunnel()
        tunnel.at_client.stalled = True
        for _ in range(3000):
            tunnel.client_user.link.send(encode(SIGNAL, b"s" * 1000))
        self.assertLess(len(tunnel.at_client.sent), 2 * MAX_BACKLOG)
        tunnel.pump()
        self.assertEqual(tunnel.client_user.lost, "the other end does not read")

    def test_endless_signals_on_a_shut_window(self) -> None:
        """Likewise where TCP reads, but the window is never opened."""
        tunnel = Tunnel()
        tunnel.server_user.link._owed = -(1 << 40)  # an end that opens no window any more
        count = (WINDOW + 2 * MAX_SIGNALS) // 1000
        for _ in range(count):
            tunnel.client_user.link.send(encode(SIGNAL, b"s" * 1000))
            tunnel.pump()
        self.assertEqual(tunnel.client_user.lost, "the other end does not read")

    def test_two_ends_paused_by_each_other(self) -> None:
        """Both ends send at full speed, both are paused, and both go on: no deadlock."""
        tunnel = Tunnel()
        tunnel.at_client.stalled = tunnel.at_server.stalled = True
        for user in (tunnel.client_user, tunnel.server_user):
            while user.link.send_bulk(BULK):
                pass
        tunnel.at_client.stalled = tunnel.at_server.stalled = False
        tunnel.pump()
        for user in (tunnel.client_user, tunnel.server_user):
            self.assertEqual(user.events, ["opened", "paused", "resumed"])


class CloseTests(SynchronousTestCase):
    """How a link ends."""

    def test_close(self) -> None:
        """Both ends hear of it with the reason, once; nothing is sent after."""
        tunnel = Tunnel()
        tunnel.client_user.link.close("going to sleep\n")
        self.assertFalse(tunnel.client_user.link.send_bulk(BULK))
        tunnel.client_user.link.send(BULK)
        tunnel.pump()
        self.assertIn("going to sleep", tunnel.client_user.lost or "")
        self.assertIn("going to sleep", tunnel.server_user.lost or "")
        self.assertNotIn("\n", tunnel.server_user.lost or "")
        for user in (tunnel.client_user, tunnel.server_user):
            self.assertEqual(user.events.count("lost"), 1)
        self.assertEqual(tunnel.clock.getDelayedCalls(), [])

    def test_close_an_end_that_does_not_read(self) -> None:
        """A connection that cannot flush is cut off."""
        tunnel = Tunnel()
        tunnel.at_server.stalled = True
        tunnel.server_user.link.send_bulk(BULK)
        tunnel.server_user.link.close("enough")
        tunnel.pump()
        self.assertIsNone(tunnel.server_user.lost)
        tunnel.clock.advance(CLOSE_SECONDS)
        tunnel.pump()
        self.assertEqual(tunnel.server_user.lost, "enough")

    def test_connection_lost(self) -> None:
        """A connection that just breaks is told in words."""
        tunnel = Tunnel()
        tunnel.at_client.abortConnection()
        tunnel.pump()
        self.assertEqual(tunnel.server_user.lost, "the other end closed the connection")
        self.assertEqual(tunnel.clock.getDelayedCalls(), [])

    def test_user_finds_a_fault(self) -> None:
        """A user that raises one of our errors closes the link with its text."""

        class Strict(RecordingUser):
            def frames_received(self, link: ILink, frames: Sequence[tuple[int, bytes]]) -> None:
                raise SignalError("not what was agreed")

        tunnel = Tunnel(server_user=Strict())
        tunnel.client_user.link.send(encode(SIGNAL, b"?"))
        tunnel.pump()
        self.assertEqual(tunnel.client_user.lost, "not what was agreed")

    def test_user_fails(self) -> None:
        """A fault of our own is logged with its traceback; the link closes, the server stays."""

        class Faulty(RecordingUser):
            def frames_received(self, link: ILink, frames: Sequence[tuple[int, bytes]]) -> None:
                raise ZeroDivisionError

        tunnel = Tunnel(server_user=Faulty())
        tunnel.client_user.link.send(encode(SIGNAL, b"?"))
        tunnel.pump()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(tunnel.client_user.lost, "internal error")
