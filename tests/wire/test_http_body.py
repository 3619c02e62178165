"""Tests for :mod:`tunnelmesh.wire.http_body`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.http import Request
from tunnelmesh.wire.http_body import MAX_LINE, MAX_TRAILERS, Body, Chunked, Measured, body_of

CUTS = st.lists(st.integers(1, 60), max_size=12)


def through(body: Body, stream: bytes, cuts: list[int]) -> bytes:
    """What of a stream belongs to a body, however it is cut."""
    taken = b""
    for cut in [*cuts, len(stream)]:
        taken += body.receive(stream[:cut])
        stream = stream[cut:]
    return taken


def request(*fields: tuple[str, str], version: int = 1) -> Request:
    """A request with such fields."""
    return Request("POST", "/", version, fields)


class BodyTests(SynchronousTestCase):
    """Where a body ends."""

    @given(
        st.lists(st.binary(min_size=1, max_size=300), max_size=5),
        st.lists(st.sampled_from([b"A: b", b"Digest: x"]), max_size=2),
        st.binary(max_size=30),
        CUTS,
    )
    @settings(max_examples=100, derandomize=True)
    def test_chunked(
        self, chunks: list[bytes], trailers: list[bytes], rest: bytes, cuts: list[int]
    ) -> None:
        """A body in chunks ends after its trailers, whatever comes next and however it is cut."""
        stream = b"".join(b"%x;a=b\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        stream += b"0\r\n" + b"".join(line + b"\r\n" for line in trailers) + b"\r\n"
        body = Chunked()
        self.assertEqual(through(body, stream + rest, cuts), stream)
        self.assertTrue(body.done)

    @given(st.binary(max_size=100), st.binary(max_size=30), CUTS)
    @settings(max_examples=50, derandomize=True)
    def test_measured(self, content: bytes, rest: bytes, cuts: list[int]) -> None:
        """A body of a known length ends there."""
        body = Measured(len(content))
        self.assertEqual(through(body, content + rest, cuts), content)
        self.assertTrue(body.done)

    @given(st.lists(st.binary(max_size=50) | st.text("0aF;\r\n").map(str.encode), max_size=9))
    @settings(max_examples=200, derandomize=True)
    def test_hostile(self, pieces: list[bytes]) -> None:
        """Arbitrary chunks raise only DecodeError, and nothing is passed on that did not come."""
        body = Chunked()
        try:
            for piece in pieces:
                self.assertTrue(piece.startswith(body.receive(piece)))
        except DecodeError:
            pass

    def test_malformed(self) -> None:
        """Chunks that lie, and lines without end, are refused."""
        for stream in (
            b"\r\n",
            b"-1\r\n",
            b"0x3\r\nabc\r\n",
            b"3\nabc\r\n",
            b"3\r\nabcd\r\n",
            b"1" * 16 + b"\r\n",
            b"1;" + b"x" * MAX_LINE,
            b"0\r\n" + b"a: b\r\n" * (MAX_TRAILERS + 1),
        ):
            self.assertRaises(DecodeError, Chunked().receive, stream)

    def test_framing(self) -> None:
        """The head says how a body ends, or that there is none."""
        self.assertTrue(body_of(request()).done)
        self.assertTrue(body_of(request(("Content-Length", "0"))).done)
        self.assertFalse(body_of(request(("content-length", "5"))).done)
        self.assertIsInstance(body_of(request(("Transfer-Encoding", "Chunked"))), Chunked)

    def test_unclear(self) -> None:
        """Where two programs could disagree, nothing is passed on."""
        length, chunked = ("Content-Length", "5"), ("Transfer-Encoding", "chunked")
        for unclear in (
            request(length, chunked),
            request(length, length),
            request(chunked, version=0),
            request(chunked, chunked),
            request(("Transfer-Encoding", "gzip, chunked")),
            request(("Transfer-Encoding", "identity")),
            *(
                request(("Content-Length", text))
                for text in ("", "-1", "+5", "5, 5", "0x5", "\xb2")
            ),
        ):
            self.assertRaises(DecodeError, body_of, unclear)
