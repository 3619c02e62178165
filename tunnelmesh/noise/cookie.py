"""The two MACs at the end of a handshake message, and cookies (paper, §5.3 and §5.4.7).

The first MAC shows that the sender knows this machine's public key: without it there is silence.
Under load, the second one is asked for too: it is made with a cookie that was sent, sealed, to the
address that the sender claims. So nobody can make this machine work from an address not his own.
"""

from __future__ import annotations

from collections.abc import Callable

from tunnelmesh.errors import HandshakeError
from tunnelmesh.noise import xchacha
from tunnelmesh.noise.primitives import KEY_SIZE, digest, mac, same
from tunnelmesh.wire.wireguard import MAC_SIZE, NO_MAC, CookieReply

COOKIE_LIFETIME = 120.0
"""Seconds that a cookie is good for (paper, §5.4.7)."""

_LABEL_MAC1 = b"mac1----"
_LABEL_COOKIE = b"cookie--"


class MacChecker:
    """Checks the MACs of what arrives, and gives out cookies.

    :param public: this machine's static public key (32 bytes).
    :param entropy: gives that many random bytes.
    """

    def __init__(self, public: bytes, entropy: Callable[[int], bytes]) -> None:
        self._mac1_key = digest(_LABEL_MAC1, public)
        self._cookie_key = digest(_LABEL_COOKIE, public)
        self._entropy = entropy
        self._secret = b""
        self._secret_expires = float("-inf")

    def knows_us(self, message: bytes) -> bool:
        """Whether a handshake message's first MAC is right."""
        covered, mac1 = message[: -2 * MAC_SIZE], message[-2 * MAC_SIZE : -MAC_SIZE]
        return same(mac(self._mac1_key, covered), mac1)

    def owns_address(self, message: bytes, source: bytes, now: float) -> bool:
        """Whether its second MAC is made with the cookie that *source* was given lately."""
        if now >= self._secret_expires:
            return False
        cookie = mac(self._secret, source)
        return same(mac(cookie, message[:-MAC_SIZE]), message[-MAC_SIZE:])

    def reply(self, message: bytes, sender: bytes, source: bytes, now: float) -> CookieReply:
        """Answer a handshake message with a cookie.

        :param message: the message, whose first MAC is right.
        :param sender: the index in it (4 bytes).
        :param source: any bytes that name where it came from.
        """
        if now >= self._secret_expires:
            self._secret = self._entropy(KEY_SIZE)
            self._secret_expires = now + COOKIE_LIFETIME
        nonce = self._entropy(xchacha.NONCE_SIZE)
        cookie = mac(self._secret, source)
        mac1 = message[-2 * MAC_SIZE : -MAC_SIZE]
        return CookieReply(sender, nonce, xchacha.seal(self._cookie_key, nonce, cookie, mac1))


class MacStamp:
    """Puts the MACs on what is sent to one peer, and keeps the cookie it gave.

    :param public: the remote peer's static public key (32 bytes).
    """

    def __init__(self, public: bytes) -> None:
        self._mac1_key = digest(_LABEL_MAC1, public)
        self._cookie_key = digest(_LABEL_COOKIE, public)
        self._mac1 = NO_MAC
        self._cookie = b""
        self._cookie_expires = float("-inf")

    def stamp(self, message: bytes, now: float) -> bytes:
        """Replace the message's two empty MACs."""
        covered = message[: -2 * MAC_SIZE]
        self._mac1 = mac(self._mac1_key, covered)
        covered += self._mac1
        return covered + (mac(self._cookie, covered) if now < self._cookie_expires else NO_MAC)

    def receive(self, reply: CookieReply, now: float) -> None:
        """Keep a cookie.

        :raises HandshakeError: if it does not answer the message stamped last.
        """
        cookie = xchacha.unseal(self._cookie_key, reply.nonce, reply.cookie, self._mac1)
        if len(cookie) != MAC_SIZE:
            raise HandshakeError("the cookie has the wrong size")
        self._cookie = cookie
        self._cookie_expires = now + COOKIE_LIFETIME
