"""Links that work once, and the sessions that they begin."""

from __future__ import annotations

from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.coordinator.dashboard import origin, sessions
from tunnelmesh.coordinator.dashboard.sessions import Sessions
from tunnelmesh.errors import SignInError


class SessionsTests(SynchronousTestCase):
    """A table of its own, and a clock that is a number."""

    def setUp(self) -> None:
        numbers = count(1)
        self.sessions = Sessions(lambda size: next(numbers).to_bytes(size, "big"))

    def refusal(self, link: str, now: float) -> str:
        """Why a link is refused."""
        return str(self.assertRaises(SignInError, self.sessions.begin, link, now))

    def test_once(self) -> None:
        """A link begins one session; used again it says so, and what to do."""
        link = self.sessions.new_link(0)
        session = self.sessions.begin(link, 1)
        self.assertTrue(self.sessions.is_valid(session, 2))
        self.assertIn("used already", self.refusal(link, 2))
        self.assertIn("tunnelmesh dashboard", self.refusal(link, 2))
        self.assertTrue(self.sessions.is_valid(session, 3), "the first session goes on")

    def test_link_ends(self) -> None:
        """A link is good for ten minutes, and one that never was is not good at all."""
        link = self.sessions.new_link(0)
        self.assertIn("not valid", self.refusal(link, sessions.LINK_SECONDS))
        for forged in ("", "x", link + "A", "\ud800", "A" * 5000):
            self.assertIn("not valid", self.refusal(forged, 1))

    def test_link_is_no_session(self) -> None:
        """Secrets of links do not do for sessions, nor the other way round."""
        link = self.sessions.new_link(0)
        self.assertFalse(self.sessions.is_valid(link, 1))
        session = self.sessions.begin(link, 1)
        self.assertIn("not valid", self.refusal(session, 1))

    def test_idle(self) -> None:
        """A session ends when nothing is heard for an hour, and goes on while something is."""
        session = self.sessions.begin(self.sessions.new_link(0), 0)
        for now in range(1000, 9000, 1000):
            self.assertTrue(self.sessions.is_valid(session, now))
        self.assertFalse(self.sessions.is_valid(session, 8000 + sessions.IDLE_SECONDS))
        self.assertFalse(self.sessions.is_valid(session, 8001), "what has ended stays so")

    def test_absolute_end(self) -> None:
        """However busy, a session ends after twelve hours."""
        session = self.sessions.begin(self.sessions.new_link(0), 0)
        now = 0.0
        while now + 600 < sessions.SESSION_SECONDS:
            now += 600
            self.assertTrue(self.sessions.is_valid(session, now))
        self.assertFalse(self.sessions.is_valid(session, sessions.SESSION_SECONDS))

    def test_sign_out(self) -> None:
        """A session that was ended cannot be replayed."""
        session = self.sessions.begin(self.sessions.new_link(0), 0)
        self.sessions.end(session)
        self.assertFalse(self.sessions.is_valid(session, 1))
        self.sessions.end(session)

    def test_bounds(self) -> None:
        """Links and sessions are few; the oldest goes."""
        links = [self.sessions.new_link(0) for _ in range(sessions.MOST_LINKS + 1)]
        self.refusal(links[0], 1)
        self.sessions.begin(links[1], 1)
        begun = [
            self.sessions.begin(self.sessions.new_link(1), 1)
            for _ in range(sessions.MOST_SESSIONS + 1)
        ]
        self.assertFalse(self.sessions.is_valid(begun[0], 2))
        self.assertTrue(self.sessions.is_valid(begun[1], 2))


class OriginTests(SynchronousTestCase):
    """Where a request comes from."""

    def test_own(self) -> None:
        """Only HTTPS from the same host and port is our own page."""
        self.assertTrue(origin.is_own("vpn.example.org:8443", "https://vpn.example.org:8443"))
        self.assertTrue(origin.is_own("VPN.example.org", "https://vpn.example.org"))
        for host, other in [
            ("a.example", None),
            (None, "https://None"),
            ("", "https://"),
            ("a.example", "null"),
            ("a.example", "http://a.example"),
            ("a.example", "https://a.example.evil.example"),
            ("a.example", "https://a.example:8443"),
            ("a.example:8443", "https://a.example"),
        ]:
            self.assertFalse(origin.is_own(host, other), (host, other))

    def test_cookie(self) -> None:
        """A session's secret is found among other cookies, and only under its full name."""
        self.assertEqual("abc", origin.session_in("x=1; __Host-tunnelmesh=abc; y=2"))
        for cookies in (None, "", "tunnelmesh=abc", "__Host-tunnelmesh", "a__Host-tunnelmesh=abc"):
            self.assertEqual("", origin.session_in(cookies))
        made = origin.cookie("abc")
        for part in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/"):
            self.assertIn(part, made)
        self.assertIn("Max-Age=0", origin.cookie(""))
