"""What streams begin with."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.opening import Answer, Request, Status


class OpeningTests(SynchronousTestCase):
    """Requests and answers are read as they were written, and nothing else is."""

    def test_bytes(self) -> None:
        """They look as documented."""
        self.assertEqual(Request(22).encode(), b"\x01\x00\x16")
        self.assertEqual(Answer(Status.OPEN).encode(), b"\x00\x00")
        self.assertEqual(Answer(Status.REFUSED, "no").encode(), b"\x05\x02no")

    def test_bad_requests(self) -> None:
        """Another version, or no port, is refused; a part is waited for."""
        self.assertIsNone(Request.decode(b""))
        self.assertIsNone(Request.decode(b"\x01\x00"))
        for bad in (b"\x02", b"\x00\x00\x16", b"\x01\x00\x00"):
            self.assertRaises(DecodeError, Request.decode, bad)

    def test_long_text(self) -> None:
        """A long text is cut off, also within a character."""
        decoded = Answer.decode(Answer(1, "é" * 200).encode())
        assert decoded is not None
        self.assertTrue(decoded[0].text.startswith("é" * 127))

    def test_shown(self) -> None:
        """What a terminal would obey is not shown to it."""
        self.assertEqual(Answer(1, "a\x1b[2Jb\nc\u202ed").shown, "a?[2Jb?c?d")

    @settings(derandomize=True, max_examples=100)
    @given(st.binary(max_size=300))
    def test_hostile(self, data: bytes) -> None:
        """Any bytes are a request, the beginning of one, or refused; and so with answers."""
        try:
            Request.decode(data)
        except DecodeError:
            self.assertTrue(data[:1] != b"\x01" or data[1:3] == b"\0\0")
        decoded = Answer.decode(data)
        if decoded is not None:
            self.assertTrue(decoded[0].shown.isprintable())
            self.assertLessEqual(decoded[1], len(data))
