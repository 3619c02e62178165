"""Tests for :mod:`tunnelmesh.peer.reach.router_web`: a router's web server, and what it may try."""

# Twisted's reactor is without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from tunnelmesh.nat.portmap.speaker import Fetch
from tunnelmesh.peer.reach import router_web
from tunnelmesh.peer.reach.router_web import MAX_ANSWER, RouterWeb


class Server(Protocol):
    """Answers each request with the same bytes, and then closes or not."""

    def dataReceived(self, data: bytes) -> None:
        """A request, or a part of one."""
        factory = self.factory
        factory.requests += data
        if b"\r\n\r\n" not in factory.requests:
            return
        self.transport.write(factory.answer)
        if factory.closes:
            self.transport.loseConnection()

    def connectionLost(self, reason: object) -> None:
        """The client has gone."""
        if not self.factory.gone.called:
            self.factory.gone.callback(None)


class RouterWebTests(TestCase):
    """Against a server on this machine."""

    def setUp(self) -> None:
        """Listen."""
        self.server = Factory.forProtocol(Server)
        self.server.requests = b""
        self.server.closes = True
        self.server.gone = Deferred()
        port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}/ctl"

    async def fetch(self, answer: bytes, *, action: str = "", body: bytes = b"") -> bytes | None:
        """What comes of such an answer."""
        self.server.answer = answer
        found = await RouterWeb(reactor).fetch(Fetch(1, self.url, action, body))
        await self.server.gone
        return found

    async def test_get(self) -> None:
        """A page, whatever its status."""
        for status in (b"200 OK", b"500 Internal Server Error"):
            self.server.gone = Deferred()
            answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n\r\n<a/>"
            self.assertEqual(await self.fetch(answer), b"<a/>")
        self.assertIn(b"GET /ctl HTTP/1.1\r\n", self.server.requests)

    async def test_post(self) -> None:
        """An action goes as SOAP wants it."""
        answer = b"HTTP/1.0 200 OK\r\n\r\n<b/>"
        self.assertEqual(await self.fetch(answer, action="urn:x#Act", body=b"<c/>"), b"<b/>")
        for part in (b"POST /ctl", b'SOAPAction: "urn:x#Act"\r\n'.lower(), b"text/xml", b"<c/>"):
            self.assertIn(part.lower(), self.server.requests.lower())

    async def test_no_redirect(self) -> None:
        """Where else a router sends us is not looked at."""
        other = Factory.forProtocol(Server)
        other.requests = b""
        port = reactor.listenTCP(0, other, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        where = f"http://127.0.0.1:{port.getHost().port}/".encode()
        answer = b"HTTP/1.1 302 Found\r\nLocation: " + where + b"\r\nContent-Length: 0\r\n\r\n"
        self.assertEqual(await self.fetch(answer), b"")
        self.assertEqual(other.requests, b"")

    async def test_too_much(self) -> None:
        """More than a router has to say is cut off: headers, a body, or chunks without end."""
        self.patch(router_web, "PATIENCE", 600)
        self.server.closes = False
        for head in (
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * MAX_ANSWER,
            b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + bytes(MAX_ANSWER),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * MAX_ANSWER,
        ):
            self.server.gone = Deferred()
            self.assertIsNone(await self.fetch(head))

    async def test_silent(self) -> None:
        """Who says nothing, or stops in the middle, is not waited for."""
        self.patch(router_web, "PATIENCE", 0.05)
        self.server.closes = False
        for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<a"):
            self.server.gone = Deferred()
            self.assertIsNone(await self.fetch(answer))

    async def test_no_web(self) -> None:
        """Nonsense, a closed connection and a closed port are no answer."""
        self.assertIsNone(await self.fetch(b"SSH-2.0-x\r\n"))
        self.url = "http://127.0.0.1:1/"
        self.assertIsNone(await RouterWeb(reactor).fetch(Fetch(1, self.url)))
