"""Invitations as text."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import TokenError
from tunnelmesh.wire.token import PREFIX, Token

TOKEN = Token(
    host="vpn.example.org",
    https_port=8443,
    ssh_port=2222,
    tls_by_name=False,
    key=bytes(range(32)),
    secret=bytes(range(100, 116)),
    expires=1_800_000_000,
)

PORTS = st.integers(0, 65535)
HOSTS = st.one_of(
    st.ip_addresses().filter(lambda address: not address.is_link_local).map(str),
    st.lists(st.sampled_from(["a", "vpn-1", "example", "x" * 63]), min_size=1, max_size=3).map(
        ".".join
    ),
)
TOKENS = st.builds(
    Token,
    HOSTS,
    PORTS,
    PORTS,
    st.booleans(),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**32 - 1),
)


class TokenTests(SynchronousTestCase):
    """Writing and reading tokens."""

    def refused(self, text: str) -> str:
        """The one line that *text* is refused with."""
        message = str(self.assertRaises(TokenError, Token.decode, text))
        self.assertNotIn("\n", message)
        return message

    @settings(max_examples=60, derandomize=True)
    @given(TOKENS)
    def test_round_trip(self, token: Token) -> None:
        """What is written is read back, from one word that needs no quoting in a shell."""
        text = token.encode()
        self.assertRegex(text, r"^tm1:[A-Za-z0-9_-]+$")
        self.assertEqual(Token.decode(text), token)

    def test_layout(self) -> None:
        """The form on paper does not change from release to release."""
        self.assertEqual(
            TOKEN.encode(),
            "tm1:ACD7CK5rSdIAAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9kZWZnaGlqa2xtbm9wcXJzdnBu"
            "LmV4YW1wbGUub3Jn-xA9rQ",
        )

    def test_blanks(self) -> None:
        """Line breaks and blanks that a mail program put in do no harm."""
        text = TOKEN.encode()
        self.assertEqual(Token.decode(f"  {text[:20]}\r\n  {text[20:]}\n"), TOKEN)

    def test_every_mistyped_letter(self) -> None:
        """One wrong letter anywhere after the prefix is told from an unknown token."""
        text = TOKEN.encode()
        for at in range(len(PREFIX), len(text)):
            wrong = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
            self.assertIn("mistyped", self.refused(wrong))

    def test_cut_off(self) -> None:
        """A token that lost its end, anywhere, is told so."""
        text = TOKEN.encode()
        for end in range(len(PREFIX), len(text)):
            self.assertIn("cut off", self.refused(text[:end]))

    def test_something_else(self) -> None:
        """Text that is no token at all is told what a token looks like."""
        for text in ["", "hello", "tm1", "TM1:AAAA", TOKEN.encode()[4:], "ssh-ed25519 AAAA"]:
            self.assertIn("begins with tm1:", self.refused(text))

    def test_newer(self) -> None:
        """A token of a later version asks for an update."""
        self.assertIn("update", self.refused("tm2:AAAA"))

    def test_unusable_host(self) -> None:
        """Hosts that no resolver would take are refused when written and when read."""
        for host in [
            "",
            "a b",
            "a/b",
            "-a",
            "a..b",
            "x" * 64,
            "é",
            "a\n",
            "fe80::1::2",
            "fe80::1%eth0",
        ]:
            self.assertRaises(TokenError, replace(TOKEN, host=host).encode)
        fixed = urlsafe_b64decode(TOKEN.encode()[4:] + "==")[:57]
        for host in [b"a b", b"\xff", b"a\0", b"fe80::1%eth0"]:
            body = fixed + host
            text = urlsafe_b64encode(body + crc32(body).to_bytes(4, "big")).decode().rstrip("=")
            self.assertIn("host", self.refused(PREFIX + text))

    @settings(max_examples=200, derandomize=True)
    @given(
        st.one_of(st.text(max_size=40), st.binary(max_size=100).map(lambda b: b.decode("latin1")))
    )
    def test_hostile(self, text: str) -> None:
        """Whatever is pasted, only TokenError comes of it."""
        self.refused(text)
        self.refused(PREFIX + text)

    def test_very_long(self) -> None:
        """A whole file pasted by mistake is refused at once."""
        self.refused(PREFIX + "A" * 10_000_000)

    def test_secret_stays_secret(self) -> None:
        """Printing the object, as a log or a traceback might, does not give the secret away."""
        self.assertNotIn("secret", repr(TOKEN))
