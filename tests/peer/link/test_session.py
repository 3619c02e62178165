"""Tests for :mod:`tunnelmesh.peer.link.session`."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from itertools import count

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import LinkError, SignalError
from tunnelmesh.identity import Identity
from tunnelmesh.peer.link import session as module
from tunnelmesh.peer.link.session import Session
from tunnelmesh.wire import frame, signal
from tunnelmesh.wire.signal import (
    Challenge,
    Hold,
    Ping,
    Pong,
    Refused,
    Signal,
    SignIn,
    Welcome,
    sign_in_text,
)

COORDINATOR = bytes(range(32))
WELCOME = Welcome("here", IPv4Address("100.96.0.2"), 16, (3478, 3479))


class FakeLink:
    """Remembers what was sent over it."""

    remote = "203.0.113.10:443"
    proxy = None
    key = None
    paused = False

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.sent: list[Signal | None] = []
        self.closed: list[str] = []

    def send(self, frames: bytes) -> None:
        """Take signals apart."""
        for kind, body in frame.FrameDecoder().receive(frames):
            assert kind == frame.SIGNAL
            self.sent.append(signal.decode(body))

    def send_bulk(self, frames: bytes) -> bool:
        """Not used by a session."""
        raise AssertionError("a session sends no bulk")

    def close(self, reason: str) -> None:
        """Remember why."""
        self.closed.append(reason)


class FakeUser:
    """Remembers what the session tells."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.relayed: list[tuple[bytes, list[bytes]]] = []
        self.doubts = 0
        self.lost: list[str] = []
        self.pauses: list[bool] = []

    def signal_received(self, session: Session, message: Signal) -> None:
        """A signal."""
        self.signals.append(message)

    def relay_received(self, session: Session, address: bytes, datagrams: Sequence[bytes]) -> None:
        """A batch."""
        self.relayed.append((address, list(datagrams)))

    def session_doubtful(self, session: Session) -> None:
        """A doubt."""
        self.doubts += 1

    def session_paused(self, session: Session, paused: bool) -> None:
        """A pause, or its end."""
        self.pauses.append(paused)

    def session_lost(self, session: Session, reason: str) -> None:
        """The end."""
        self.lost.append(reason)


class SessionTestCase(SynchronousTestCase):
    """A session on a fake link."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.identity = Identity(Ed25519PrivateKey.from_private_bytes(bytes(32)))
        self.user = FakeUser()
        self.session = Session(
            self.clock, self.identity, COORDINATOR, "test", count(1).__next__, self.user
        )

    def open(self, kind: str = "websocket") -> FakeLink:
        """The link opens."""
        self.link = FakeLink(kind)
        self.session.link_opened(self.link)
        return self.link

    def receive(self, *messages: Signal) -> None:
        """The coordinator says something."""
        for message in messages:
            frames = frame.FrameDecoder().receive(signal.encode(message))
            self.session.frames_received(self.link, frames)


class SigningInTests(SessionTestCase):
    """Until the welcome."""

    def test_websocket(self) -> None:
        """Over WebSocket the challenge is answered with a signature over both keys' words."""
        self.open()
        self.assertEqual(self.link.sent, [])
        self.receive(Challenge(b"n" * 32))
        [sign_in] = self.link.sent
        assert isinstance(sign_in, SignIn)
        self.identity.private_key.public_key().verify(
            sign_in.signature, sign_in_text(b"n" * 32, COORDINATOR)
        )

    def test_ssh(self) -> None:
        """Over SSH the connection is authentic: the peer signs in at once, without a signature."""
        self.open("ssh")
        [sign_in] = self.link.sent
        assert isinstance(sign_in, SignIn)
        self.assertEqual(sign_in.signature, b"")
        self.receive(Challenge(b"n" * 32))
        self.assertEqual(len(self.link.sent), 1)

    def test_welcome(self) -> None:
        """The welcome is what is waited for; a second one changes nothing."""
        waiting = self.session.until_welcome()
        self.open()
        self.receive(WELCOME, Welcome("evil", WELCOME.address, 8, ()))
        self.assertEqual(self.successResultOf(waiting), WELCOME)
        self.assertEqual(self.session.welcome, WELCOME)
        self.assertEqual(self.successResultOf(self.session.until_welcome()), WELCOME)

    def test_never_welcome(self) -> None:
        """A coordinator that talks on but says no welcome is given up in time, and told why."""
        waiting = self.session.until_welcome()
        self.open()
        for _ in range(20):
            self.receive(Ping(1))
            self.clock.advance(module.SIGN_IN_SECONDS / 20 + 0.01)
        self.failureResultOf(waiting, LinkError)
        self.assertEqual(len(self.link.closed), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """The coordinator's own words reach the user."""
        waiting = self.session.until_welcome()
        self.open()
        self.receive(Refused("unknown", "\x1b[2Jthis machine is not a member: join again"))
        error = self.failureResultOf(waiting, LinkError).value
        self.assertIn("join again", str(error))
        self.assertTrue(str(error).isprintable())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_other_version(self) -> None:
        """Another major version ends it, saying which side to update."""
        for major, who in ((2, "this machine"), (0, "the coordinator")):
            self.setUp()
            waiting = self.session.until_welcome()
            self.open()
            self.receive(Challenge(b"n" * 32, major=major))
            self.assertIn(who, str(self.failureResultOf(waiting, SignalError).value))

    def test_early_frames(self) -> None:
        """Before the welcome nobody hears of signals or relayed datagrams."""
        self.open()
        self.receive(Hold(WELCOME.address))
        relayed = (frame.RELAY, WELCOME.address.packed + b"\0\1x")
        self.session.frames_received(self.link, [relayed])
        self.assertEqual((self.user.signals, self.user.relayed), ([], []))

    def test_opened_too_late(self) -> None:
        """A link that opens after the session was given up is closed, and nothing is left."""
        self.session.close("not needed")
        self.open("ssh")
        self.assertEqual((self.link.sent, len(self.link.closed)), ([], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.failureResultOf(self.session.until_welcome(), LinkError)


class WelcomeTests(SessionTestCase):
    """After the welcome."""

    def setUp(self) -> None:
        super().setUp()
        self.open()
        self.receive(WELCOME)

    def test_signals_and_relay(self) -> None:
        """Both reach the user; pings are answered here."""
        self.receive(Hold(WELCOME.address), Ping(77))
        relayed = frame.encode_relay(WELCOME.address.packed, [b"a", b"bc"])
        self.session.frames_received(self.link, frame.FrameDecoder().receive(relayed))
        self.assertEqual(self.user.signals, [Hold(WELCOME.address)])
        self.assertEqual(self.user.relayed, [(WELCOME.address.packed, [b"a", b"bc"])])
        self.assertIn(Pong(77), self.link.sent)

    @settings(derandomize=True, max_examples=100)
    @given(st.integers(0, 255), st.binary(max_size=60))
    def test_nonsense(self, kind: int, body: bytes) -> None:
        """Whatever else comes is counted, and the session lives."""
        odd, told = self.session.odd, len(self.user.signals) + len(self.user.relayed)
        self.session.frames_received(self.link, [(kind, body)])
        counted = self.session.odd - odd
        self.assertEqual(
            counted + len(self.user.signals) + len(self.user.relayed) - told, 1, (kind, body)
        )
        self.assertTrue(self.session.is_well)

    def test_unknown_signal(self) -> None:
        """A newer version's signal is counted, and nothing else."""
        self.session.frames_received(self.link, [(frame.SIGNAL, b'{"type":"sing"}')])
        self.assertEqual((self.session.odd, self.user.signals), (1, []))

    def test_silence(self) -> None:
        """A link that is used and brings nothing is doubted first, and lost within seconds."""
        for _ in range(100):
            if self.user.lost:
                break
            self.session.relayed()
            self.clock.advance(0.1)
        self.assertLess(self.clock.seconds(), 5.0)
        self.assertGreater(self.user.doubts, 0)
        self.assertEqual(len(self.user.lost), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_answered(self) -> None:
        """A link whose pings are answered stays well, and its round trip is known."""
        for _ in range(300):
            self.session.relayed()
            self.clock.advance(0.05)
            for message in self.link.sent:
                if isinstance(message, Ping):
                    self.receive(Pong(message.token))
            self.link.sent.clear()
        self.assertTrue(self.session.is_well)
        self.assertIsNotNone(self.session.health.rtt)
        self.assertEqual(self.user.lost, [])

    def test_lost_once(self) -> None:
        """However it ends, the user hears of it once."""
        self.session.link_lost(self.link, "reset")
        self.session.link_lost(self.link, "again")
        self.session.close("late")
        self.receive(Hold(WELCOME.address))
        self.assertEqual((self.user.lost, self.user.signals), (["reset"], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pauses(self) -> None:
        """Back-pressure is passed on."""
        self.session.link_paused(self.link)
        self.session.link_resumed(self.link)
        self.assertEqual(self.user.pauses, [True, False])
