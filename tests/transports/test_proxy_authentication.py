"""Signing in to a proxy, against the examples of RFC 7616 and against hostile challenges."""

from __future__ import annotations

import hashlib
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import ProxyError
from tunnelmesh.transports.proxy_authentication import (
    Challenge,
    ProxyAuthentication,
    parse_challenges,
)
from tunnelmesh.transports.proxy_settings import Proxy

ME = Proxy("proxy.example", 3128, "Mufasa", "Circle of Life")
DIGEST = 'Digest realm="r", qop="auth", nonce="n1"'


def authentication(proxy: Proxy = ME) -> ProxyAuthentication:
    """With randomness that is none."""
    return ProxyAuthentication(proxy, lambda count: bytes(count))


class ChallengeTests(SynchronousTestCase):
    """Reading Proxy-Authenticate."""

    def test_many(self) -> None:
        """Challenges in one line and in several, with quotes, escapes, tokens and blanks."""
        self.assertEqual(
            parse_challenges(
                [
                    'Negotiate, NTLM TlRMTVN==, Digest Realm = "a, \\"b\\"",qop="auth,auth-int"',
                    "Basic realm=plain",
                ]
            ),
            [
                Challenge("negotiate"),
                Challenge("ntlm"),
                Challenge("digest", {"realm": 'a, "b"', "qop": "auth,auth-int"}),
                Challenge("basic", {"realm": "plain"}),
            ],
        )

    def test_strength(self) -> None:
        """SHA-256 before MD5 before Basic; what we cannot do is worth nothing."""
        ranked = [
            'Digest nonce="n", qop="auth-int, auth", algorithm=SHA-256',
            'Digest nonce="n", qop="auth", algorithm=md5',
            'Basic realm="x"',
            'Digest nonce="n", qop="auth", algorithm=SHA-512-256',
        ]
        strengths = [challenge.strength for challenge in parse_challenges(ranked)]
        self.assertEqual(strengths, [3, 2, 1, 0])
        useless = [
            "Negotiate",
            "Digest nonce=n",
            'Digest nonce=n, qop="auth-int"',
            "Digest qop=auth",
        ]
        self.assertEqual([c.strength for c in parse_challenges(useless)], [0] * 4)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.lists(st.text(alphabet='Digest Basic,="\\\t\x80x', max_size=200)))
    def test_any_text(self, values: list[str]) -> None:
        """Whatever a proxy demands is answered on one line, or is an error."""
        ours = authentication()
        try:
            ours.challenged(values, answered=False)
        except ProxyError as problem:
            self.assertTrue(str(problem).isprintable())
            return
        self.assertNotIn("\n", ours.header("CONNECT", "x:1") or "")


class AnswerTests(SynchronousTestCase):
    """Answering."""

    def test_unasked(self) -> None:
        """Nothing is sent before it is asked for."""
        self.assertIsNone(authentication().header("CONNECT", "x:1"))

    def test_basic(self) -> None:
        """RFC 7617 §2.1's example, in UTF-8."""
        ours = authentication(Proxy("p", 1, "test", "123\N{POUND SIGN}"))
        ours.challenged(['Basic realm="foo", charset="UTF-8"'], answered=False)
        self.assertEqual(ours.header("CONNECT", "x:1"), "Basic dGVzdDoxMjPCow==")

    def test_rfc7616_example(self) -> None:
        """The two responses of RFC 7616 §3.9.1, for the same request."""
        cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"

        class Given(bytes):
            def hex(self) -> str:  # type: ignore[override]
                return cnonce

        for algorithm, response in (
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ):
            ours = ProxyAuthentication(ME, lambda count: Given(count))
            challenge = (
                'Digest realm="http-auth@example.org", qop="auth, auth-int",'
                f" algorithm={algorithm},"
                ' nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",'
                ' opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
            )
            ours.challenged([challenge], answered=False)
            answer = ours.header("GET", "/dir/index.html") or ""
            self.assertIn(f'response="{response}"', answer)
            self.assertIn('opaque="FQhe/', answer)
            self.assertIn(f"algorithm={algorithm}", answer)

    def test_best_chosen(self) -> None:
        """The password is not sent in the clear where a digest will do."""
        ours = authentication()
        ours.challenged(['Basic realm="x"', DIGEST], answered=False)
        self.assertTrue((ours.header("CONNECT", "x:1") or "").startswith("Digest "))

    def test_nonce_count(self) -> None:
        """A nonce is used again with a higher count; a new one begins at one."""
        ours = authentication()
        counts = []
        for nonce in ("n1", "n2"):
            ours.challenged([DIGEST.replace("n1", nonce)], answered=False)
            for _ in range(2):
                answer = ours.header("CONNECT", "x:1") or ""
                counts += re.findall(r'nonce="(n\d)".* nc=(\w+)', answer)
        self.assertEqual(
            counts,
            [("n1", "00000001"), ("n1", "00000002"), ("n2", "00000001"), ("n2", "00000002")],
        )

    def test_quoting(self) -> None:
        """Quotes in a name or a realm are hashed as they are and sent escaped."""
        ours = authentication(Proxy("p", 1, 'J"ü', "pass"))
        ours.challenged(['Digest realm="a\\"b", qop=auth, nonce=n'], answered=False)
        answer = ours.header("CONNECT", "x:1") or ""
        self.assertIn('realm="a\\"b"', answer)
        self.assertIn('username="J\\"ü"'.encode().decode("latin-1"), answer)

        def h(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        secret, request = h('J"ü:a"b:pass'), h("CONNECT:x:1")
        expected = h(f"{secret}:n:00000001:{'00' * 16}:auth:{request}")
        self.assertIn(expected, answer)

    def test_stale(self) -> None:
        """A stale nonce is replaced; a second refusal of a fresh one is a wrong password."""
        ours = authentication()
        ours.challenged([DIGEST], answered=False)
        ours.challenged([DIGEST.replace("n1", "n2") + ", stale=TRUE"], answered=True)
        self.assertIn('nonce="n2"', ours.header("CONNECT", "x:1") or "")
        problem = self.assertRaises(ProxyError, ours.challenged, [DIGEST], answered=True)
        self.assertIn("does not accept the user name or the password", str(problem))
        self.assertNotIn("Circle", str(problem))

    def test_impossible(self) -> None:
        """No password given, and no way in common, each say what to do or what is wanted."""
        nobody = authentication(Proxy("proxy.example", 3128))
        problem = self.assertRaises(ProxyError, nobody.challenged, [DIGEST], answered=False)
        self.assertIn("--proxy=http://user:password@host:port", str(problem))
        for values, words in ((["Negotiate", "NTLM"], "negotiate, ntlm"), ([], "nothing we know")):
            problem = self.assertRaises(
                ProxyError, authentication().challenged, values, answered=False
            )
            self.assertIn(words, str(problem))
