"""The MACs of handshake messages, and cookies."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import HandshakeError
from tunnelmesh.noise.cookie import COOKIE_LIFETIME, MacChecker, MacStamp
from tunnelmesh.noise.primitives import digest, mac
from tunnelmesh.wire.wireguard import NO_MAC

PUBLIC = b"p" * 32
MESSAGE = b"message" * 10 + 2 * NO_MAC
HERE = b"here"


class CookieTests(SynchronousTestCase):
    """One side stamps, the other checks."""

    def setUp(self) -> None:
        self.checker = MacChecker(PUBLIC, Random("cookie").randbytes)
        self.stamp = MacStamp(PUBLIC)

    def stamped(self, now: float) -> bytes:
        return self.stamp.stamp(MESSAGE, now)

    def cookie(self, now: float) -> None:
        """Let the stamp have a cookie."""
        self.stamp.receive(self.checker.reply(self.stamped(now), b"indx", HERE, now), now)

    def test_first_mac(self) -> None:
        """It is keyed with the receiver's public key, and covers what is before it."""
        stamped = self.stamped(0)
        expected = mac(digest(b"mac1----", PUBLIC), MESSAGE[:-32])
        self.assertEqual(stamped, MESSAGE[:-32] + expected + NO_MAC)
        self.assertTrue(self.checker.knows_us(stamped))
        self.assertFalse(self.checker.knows_us(b"?" + stamped[1:]))
        self.assertFalse(MacChecker(b"q" * 32, bytes).knows_us(stamped))

    def test_no_cookie(self) -> None:
        """Without a cookie the second MAC is zeros, and wrong."""
        self.assertFalse(self.checker.owns_address(self.stamped(0), HERE, 0))
        self.checker.reply(self.stamped(0), b"indx", HERE, 0)
        self.assertFalse(self.checker.owns_address(self.stamped(0), HERE, 0))

    def test_cookie(self) -> None:
        """A cookie makes the second MAC right, from the place it was given to only."""
        self.cookie(0)
        self.assertTrue(self.checker.owns_address(self.stamped(1), HERE, 1))
        self.assertFalse(self.checker.owns_address(self.stamped(1), b"there", 1))
        self.assertFalse(self.checker.owns_address(b"?" + self.stamped(1)[1:], HERE, 1))

    def test_lifetime(self) -> None:
        """A cookie is worth nothing once its time is over, to either side."""
        self.cookie(0)
        last = self.stamped(COOKIE_LIFETIME - 0.1)
        self.assertTrue(self.checker.owns_address(last, HERE, COOKIE_LIFETIME - 0.1))
        self.assertFalse(self.checker.owns_address(last, HERE, COOKIE_LIFETIME))
        self.assertEqual(self.stamped(COOKIE_LIFETIME)[-16:], NO_MAC)

    def test_secret_changes(self) -> None:
        """A cookie made with the secret before is not good with the one after."""
        self.cookie(0)
        old = self.stamped(1)
        self.checker.reply(self.stamped(1), b"indx", b"elsewhere", COOKIE_LIFETIME)
        self.assertFalse(self.checker.owns_address(old, HERE, COOKIE_LIFETIME))
        self.cookie(COOKIE_LIFETIME)
        now = COOKIE_LIFETIME + 1
        self.assertTrue(self.checker.owns_address(self.stamped(now), HERE, now))

    def test_reply_to_another_message(self) -> None:
        """A cookie that answers a message we did not just send is refused."""
        reply = self.checker.reply(self.stamped(0), b"indx", HERE, 0)
        self.assertEqual(reply.receiver, b"indx")
        self.stamp.stamp(b"other" + 2 * NO_MAC, 0)
        with self.assertRaises(HandshakeError):
            self.stamp.receive(reply, 0)
        self.assertEqual(self.stamped(0)[-16:], NO_MAC)
