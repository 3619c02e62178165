"""Tests for :mod:`tunnelmesh.wire.http`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.http import (
    MAX_HEAD,
    Answer,
    Collecting,
    Request,
    end_to_end,
    split_absolute,
    split_authority,
)

TOKENS = st.from_regex(r"[A-Za-z0-9-]{1,12}", fullmatch=True)
VALUES = st.from_regex(r"([!-~\x80-\xff]([ -~]{0,20}[!-~])?)?", fullmatch=True)
FIELDS = st.lists(st.tuples(TOKENS, VALUES), max_size=6).map(tuple)
REQUESTS = st.builds(
    Request, TOKENS, st.from_regex(r"[!-~]{1,30}", fullmatch=True), st.integers(0, 1), FIELDS
)
ANSWERS = st.builds(Answer, st.integers(100, 599), VALUES, st.integers(0, 1), FIELDS)


def collect(stream: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """A head from a stream that arrives in pieces, and all that comes after it."""
    collecting = Collecting()
    for cut in [*cuts, len(stream)]:
        found = collecting.receive(stream[:cut])
        stream = stream[cut:]
        if found is not None:
            return found[0], found[1] + stream
    raise AssertionError("no head")


class HeadTests(SynchronousTestCase):
    """The lines before a body."""

    @given(REQUESTS, st.binary(max_size=40), st.lists(st.integers(1, 60), max_size=12))
    @settings(max_examples=100, derandomize=True)
    def test_request(self, request: Request, rest: bytes, cuts: list[int]) -> None:
        """A request comes out as it went in, however it is cut."""
        head, after = collect(request.encode() + rest, cuts)
        self.assertEqual((Request.decode(head), after), (request, rest))

    @given(ANSWERS)
    @settings(max_examples=100, derandomize=True)
    def test_answer(self, answer: Answer) -> None:
        """An answer comes out as it went in."""
        head, _ = collect(answer.encode(), [])
        self.assertEqual(Answer.decode(head), answer)

    @given(st.binary(max_size=200) | st.text("GET /:HTP1.0\r\n\t \0", max_size=60).map(str.encode))
    @settings(max_examples=200, derandomize=True)
    def test_hostile(self, data: bytes) -> None:
        """Arbitrary bytes raise only DecodeError."""
        for kind in (Request, Answer):
            try:
                kind.decode(data)
            except DecodeError:
                pass

    def test_ambiguous(self) -> None:
        """What programs are known to read in different ways is refused."""
        for lines in (
            b"GET  / HTTP/1.1",
            b"GET / HTTP/2.0",
            b"GET /",
            b"GET / HTTP/1.1\r\nHost : x",
            b"GET / HTTP/1.1\r\nA: b\r\n folded",
            b"GET / HTTP/1.1\r\nA: b\nC: d",
            b"GET / HTTP/1.1\r\nA: b\rC: d",
            b"GET / HTTP/1.1\r\nA: b\0",
            b"GET / HTTP/1.1\r\nno colon",
            b"GET / HTTP/1.1\r\n: no name",
        ):
            self.assertRaises(DecodeError, Request.decode, lines)
        self.assertRaises(DecodeError, Answer.decode, b"SSH-2.0-OpenSSH_9.2")

    def test_bounded(self) -> None:
        """A head without an end is given up."""
        collecting = Collecting()
        for _ in range(MAX_HEAD // 1024):
            self.assertIsNone(collecting.receive(b"x" * 1024))
        self.assertRaises(DecodeError, collecting.receive, b"x")
        self.assertRaises(DecodeError, Collecting().receive, b"x" * MAX_HEAD + b"x\r\n\r\n")


class HopTests(SynchronousTestCase):
    """What is for the next program only."""

    def test_left_out(self) -> None:
        """Fields of the connection and of the proxy are left out, and so is what they name."""
        fields = (
            ("Host", "homelab.mesh"),
            ("Connection", "keep-alive, X-Once"),
            ("connection", "close"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authorization", "Basic eA=="),
            ("Upgrade", "h2c"),
            ("TE", "trailers"),
            ("X-Once", "1"),
            ("Cookie", "a=b"),
        )
        self.assertEqual(end_to_end(fields), (("Host", "homelab.mesh"), ("Cookie", "a=b")))

    def test_framing_stays(self) -> None:
        """A client cannot take away what tells where a body ends."""
        fields = (("Connection", "Content-Length, transfer-encoding"), ("Content-Length", "3"))
        self.assertEqual(end_to_end(fields), (("Content-Length", "3"),))


class TargetTests(SynchronousTestCase):
    """Where a request is to go."""

    def test_absolute(self) -> None:
        """The address is taken apart."""
        for target, parts in (
            ("http://homelab.mesh", ("homelab.mesh", 80, "homelab.mesh", "/")),
            ("HTTP://homelab:8080/a?b=c", ("homelab", 8080, "homelab:8080", "/a?b=c")),
            ("http://[FD74:0::1]:81?q", ("fd74::1", 81, "[FD74:0::1]:81", "/?q")),
            ("http://h/http://x@y:1/", ("h", 80, "h", "/http://x@y:1/")),
        ):
            self.assertEqual(split_absolute(target), parts)

    def test_not_absolute(self) -> None:
        """Everything else is refused, also names with a password before them."""
        for target in (
            "/",
            "*",
            "homelab:80",
            "https://homelab/",
            "ftp://homelab/",
            "http:///",
            "http://user@homelab/",
            "http://homelab:/",
            "http://homelab:0/",
            "http://homelab:65536/",
            "http://homelab/#part",
            "http://[homelab]/",
            "http://[1.2.3.4]/",
            "http://home%6cab/",
        ):
            self.assertRaises(DecodeError, split_absolute, target)

    def test_authority(self) -> None:
        """Where a port has to be given, it has to be."""
        self.assertEqual(split_authority("homelab:22"), ("homelab", 22))
        self.assertRaises(DecodeError, split_authority, "homelab")
