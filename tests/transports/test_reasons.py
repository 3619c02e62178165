"""Reasons in words."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet import error
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import TrustError
from tunnelmesh.transports.reasons import LONGEST, printable, reason_text


class ReasonTests(SynchronousTestCase):
    """What a problem means."""

    def test_words(self) -> None:
        """Twisted's, OpenSSL's, the system's and our own errors are told without their classes."""
        for problem, words in (
            (error.ConnectionRefusedError(), "connection refused"),
            (error.TCPTimedOutError(), "no answer"),
            (error.DNSLookupError("x"), "its name is not known to the DNS"),
            (error.ConnectError(113, "No route to host"), "No route to host"),
            (error.ConnectError(string=Failure(error.ConnectionDone())), "no connection"),
            (error.ConnectionDone(), "the other end closed the connection"),
            (error.ConnectionLost(), "the connection was lost"),
            (OSError(24, "Too many open files"), "Too many open files"),
            (SSL.Error([("SSL routines", "", "wrong version number")]), "wrong version number"),
            (SSL.Error(), "TLS failed"),
            (TrustError("not the pinned key"), "not the pinned key"),
            (ZeroDivisionError(), "ZeroDivisionError"),
        ):
            self.assertIn(words, reason_text(problem))

    @settings(deadline=None, derandomize=True)
    @given(st.text(max_size=2 * LONGEST))
    def test_printable(self, text: str) -> None:
        """A stranger's text becomes one short line, and stays itself if it is one."""
        shown = printable(text)
        self.assertTrue(shown.isprintable())
        self.assertLessEqual(len(shown), LONGEST)
        if text.isprintable() and len(text) <= LONGEST:
            self.assertEqual(shown, text)
