"""Tests for :mod:`tunnelmesh.transports.http_exchange`: one question, one answer."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from http.client import HTTPException
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.transports.http_exchange import Answer, exchange, written

MOST = 400


class Endpoint:
    """Connects to a transport in memory."""

    def __init__(self) -> None:
        self.transport = StringTransport()

    def connect(self, factory: Any) -> Deferred[Any]:
        self.protocol: Any = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        connected: Deferred[Any] = Deferred()
        connected.callback(self.protocol)
        return connected


class ExchangeTests(SynchronousTestCase):
    """What comes of what a server sends."""

    def setUp(self) -> None:
        """Ask."""
        self.endpoint = Endpoint()
        asked = exchange(self.endpoint, b"?", MOST)  # type: ignore[arg-type]
        self.asking = Deferred.fromCoroutine(asked)

    def comes(self, *parts: bytes, ends: Exception | None = None) -> None:
        """Something comes, and the connection may end."""
        for part in parts:
            self.endpoint.protocol.dataReceived(part)
        if ends is not None:
            self.endpoint.protocol.connectionLost(Failure(ends))

    def test_measured(self) -> None:
        """An answer of a known length needs no end of the connection, however it is cut."""
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
        self.assertEqual(self.endpoint.transport.value(), b"?")
        for number in range(len(answer)):
            self.assertNoResult(self.asking)
            self.comes(answer[number : number + 1])
        self.assertEqual(self.successResultOf(self.asking), Answer(200, b"hello"))
        self.assertTrue(self.endpoint.transport.disconnected)
        self.comes(b"more", ends=ConnectionDone())

    def test_chunked(self) -> None:
        """Nor does one in chunks; what looks like the last of them may be a part of one."""
        self.comes(
            b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"3\r\nabc\r\n8\r\nd0\r\n\r\n",
            b"ef\r\n",
        )
        self.assertNoResult(self.asking)
        self.comes(b"0\r\n\r\n")
        self.assertEqual(self.successResultOf(self.asking), Answer(403, b"abcd0\r\n\r\nef"))

    def test_until_the_end(self) -> None:
        """One without a length is over when the connection ends."""
        self.comes(b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo")
        self.assertNoResult(self.asking)
        self.comes(ends=ConnectionDone())
        self.assertEqual(self.successResultOf(self.asking), Answer(200, b"hello"))

    def test_cut_off(self) -> None:
        """One that stops before its length is none."""
        self.comes(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", ends=ConnectionDone())
        error = self.failureResultOf(self.asking, HTTPException).value
        self.assertEqual(str(error), "its answer stops in the middle")

    def test_lost(self) -> None:
        """A connection that fails, or ends without a word, has its own reason."""
        self.comes(b"HTTP/1.0 200 OK\r\n\r\nhello", ends=ConnectionLost())
        self.failureResultOf(self.asking, ConnectionLost)
        self.setUp()
        self.comes(ends=ConnectionDone())
        self.failureResultOf(self.asking, ConnectionDone)

    def test_too_long(self) -> None:
        """What is longer than anybody needs is cut off."""
        self.comes(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", bytes(MOST))
        error = self.failureResultOf(self.asking, HTTPException).value
        self.assertEqual(str(error), "its answer is too long")
        self.assertTrue(self.endpoint.transport.disconnected)

    def test_given_up(self) -> None:
        """Who does not wait any more closes the connection."""
        self.asking.cancel()
        self.failureResultOf(self.asking, CancelledError)
        self.assertTrue(self.endpoint.transport.disconnected)

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(
        st.sampled_from(
            [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
        ),
        st.lists(st.binary(max_size=60) | st.sampled_from([b"\r\n\r\n", b"0\r\n\r\n"])),
    )
    def test_anything(self, head: bytes, parts: list[bytes]) -> None:
        """Whatever comes ends in an answer or in one error."""
        self.setUp()
        self.comes(head, *parts, ends=ConnectionDone())
        results: list[object] = []
        self.asking.addBoth(results.append)
        (result,) = results
        if isinstance(result, Failure):
            self.assertTrue(result.check(HTTPException, ValueError, ConnectionDone), result)


class WrittenTests(SynchronousTestCase):
    """Requests."""

    def test_written(self) -> None:
        """A request as it is sent."""
        request = written("POST", "/a?b", "host:1", {"X": "y"}, b"body")
        self.assertEqual(
            request,
            b"POST /a?b HTTP/1.1\r\nHost: host:1\r\nConnection: close\r\nX: y\r\n"
            b"Content-Length: 4\r\n\r\nbody",
        )

    def test_no_more_than_asked(self) -> None:
        """Nothing smuggles a second line in."""
        for target, value in ("/a b", "y"), ("/a\r\nX:", "y"), ("/a", "y\r\nZ: z"), ("/ä", "y"):
            with self.assertRaises(ValueError):
                written("GET", target, "host", {"X": value})
