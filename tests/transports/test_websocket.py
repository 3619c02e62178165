"""Links over WebSockets: both ends together on loopback, and each against a hostile other end."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import sys
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface.verify import verifyObject

from tests.transports.links import LoopbackTestCase, User, Wire, reactor, site, until
from tunnelmesh.errors import LinkError, SignalError, TrustError
from tunnelmesh.interfaces import ILink
from tunnelmesh.transports.tls import certificate_chain, server_tls
from tunnelmesh.transports.unsent import MAX_UNSENT
from tunnelmesh.transports.websocket import link as limits
from tunnelmesh.transports.websocket.client import MAX_ANSWER, ClientFactory, ClientLink, connect
from tunnelmesh.wire.frame import MAX_BODY, RELAY, SIGNAL, encode

BULK = encode(RELAY, bytes(60_000))


class LinkTests(LoopbackTestCase):
    """Both ends, over TLS and TCP."""

    async def test_open(self) -> None:
        """Both ends are links, and know what they can know of each other."""
        link, theirs = await self.open()
        for end in (link, theirs):
            verifyObject(ILink, end)
            self.assertEqual(end.kind, "websocket")
            self.assertFalse(end.paused)
        self.assertIs(link, self.peer.links[0])
        self.assertEqual((link.key, link.proxy), (self.pin, None))
        self.assertEqual(link.remote, f"127.0.0.1:{self.port}")
        self.assertTrue(theirs.remote.startswith("127.0.0.1:"))

    async def test_frames(self) -> None:
        """Frames pass both ways, whole and in order, from the smallest to the longest."""
        link, theirs = await self.open()
        frames = [(SIGNAL, b""), (RELAY, bytes(MAX_BODY)), (200, b"new"), (SIGNAL, b"last")]
        for end, user in ((link, self.coordinator), (theirs, self.peer)):
            end.send(encode(*frames[0]))
            self.assertTrue(end.send_bulk(b"".join(encode(*frame) for frame in frames[1:])))
            await until(lambda user=user: len(user.frames) == 4)
            self.assertEqual(user.frames, frames)

    async def test_many_frames(self) -> None:
        """More frames at once than a message holds are cut between frames."""
        link, theirs = await self.open()
        frames = [(RELAY, bytes([n]) * (MAX_BODY - n)) for n in range(9)]
        for end, user in ((link, self.coordinator), (theirs, self.peer)):
            self.assertTrue(end.send_bulk(b"".join(encode(*frame) for frame in frames)))
            await until(lambda user=user: len(user.frames) == 9 or user.lost)
            self.assertEqual(user.frames, frames)

    async def test_close(self) -> None:
        """Either end's reason reaches the other end's log, after what was sent before."""
        for closer in (0, 1):
            ends = await self.open()
            users = self.peer, self.coordinator
            ends[closer].send(encode(SIGNAL, b"bye"))
            ends[closer].close("gone fishing")
            ends[closer].send(encode(SIGNAL, b"too late"))
            self.assertFalse(ends[closer].send_bulk(encode(RELAY, b"too late")))
            await until(lambda users=users: users[0].lost and users[1].lost)
            self.assertEqual(users[closer].lost, ["gone fishing"])
            self.assertEqual(
                users[1 - closer].lost, ["the other end closed the connection: gone fishing"]
            )
            self.assertEqual(users[1 - closer].frames, [(SIGNAL, b"bye")])
            for user in users:
                user.__init__()

    async def test_slow_reader(self) -> None:
        """An end that reads no more pauses the other end, whose memory stays bounded; nothing is
        lost when it goes on."""
        link, theirs = await self.open()
        for end, user, other in ((link, self.peer, theirs), (theirs, self.coordinator, link)):
            other.pauseProducing()
            reader = self.coordinator if user is self.peer else self.peer
            sent = 0
            while not end.paused:
                await until(lambda end=end: end.paused or end.send_bulk(BULK), 2)
                sent += len(BULK) - 4
                self.assertLess(sent, 50_000_000)
            self.assertFalse(end.send_bulk(BULK))
            end.send(encode(SIGNAL, b"urgent"))
            self.assertEqual(user.changes, ["paused"])
            self.assertLess(reader.received, 1_000_000)
            buffered = end.transport.transport
            held = len(buffered.dataBuffer) + sum(map(len, buffered._tempDataBuffer))
            self.assertLess(held, 1_000_000)
            other.resumeProducing()
            await until(lambda reader=reader: (SIGNAL, b"urgent") in reader.frames)
            self.assertEqual(user.changes, ["paused", "resumed"])
            self.assertLessEqual(abs(reader.received - 6 - sent), len(BULK))
            self.assertFalse(end.paused)

    async def test_little_unsent(self) -> None:
        """A link is full as soon as little waits in the kernel, at both ends; see unsent.py."""
        for end in await self.open():
            handle = end.transport.transport.getHandle()
            self.assertEqual(handle.getsockopt(socket.IPPROTO_TCP, 25), MAX_UNSENT)

    test_little_unsent.skip = None if sys.platform == "linux" else "only on Linux"

    async def test_never_reads(self) -> None:
        """An end that never reads is given up before its signals fill the memory."""
        link, theirs = await self.open()
        link.pauseProducing()
        while not theirs.paused:
            await until(lambda: theirs.paused or theirs.send_bulk(BULK), 2)
        signal = encode(SIGNAL, bytes(10_000))
        for _ in range(limits.MAX_UNREAD_SIGNALS // 10_000 + 1):
            theirs.send(signal)
        await until(lambda: self.coordinator.lost)
        self.assertEqual(self.coordinator.lost, ["the other end does not read"])

    async def test_user_finds_fault(self) -> None:
        """A user's error ends the link with the error's text."""
        link, _ = await self.open()
        self.coordinator.problem = SignalError("a registration without a name")
        link.send(encode(SIGNAL, b"{}"))
        await until(lambda: self.coordinator.lost and self.peer.lost)
        self.assertEqual(self.coordinator.lost, ["a registration without a name"])
        self.assertEqual(self.peer.lost, ["the connection was lost"])

    async def test_user_fails(self) -> None:
        """A bug in a user ends the link, and only the link; it is logged once."""
        link, _ = await self.open()
        self.coordinator.problem = ZeroDivisionError()
        link.send(encode(SIGNAL, b"{}"))
        await until(lambda: self.coordinator.lost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_wrong_pin(self) -> None:
        """A coordinator with another key is refused with the certificate's story."""
        problem = await self.assertFailure(self.connect(pin=bytes(32)), TrustError)
        self.assertIn("SHA256:", str(problem))
        self.assertEqual(self.peer.links + self.peer.lost, [])

    async def test_nobody_listens(self) -> None:
        """A refused connection is said to be one."""
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        free = port.getHost().port
        await port.stopListening()
        problem = await self.assertFailure(self.connect(free), LinkError)
        self.assertEqual(str(problem), "cannot reach the coordinator: connection refused")

    async def test_another_web_site(self) -> None:
        """A web site that is no coordinator is recognized by its HTTP status."""
        chain = certificate_chain(self.identity, [], self.now)
        port = self.serve(chain, Site(Resource(), reactor=reactor))
        problem = await self.assertFailure(self.connect(port), LinkError)
        self.assertIn("'404 Not Found'", str(problem))

    async def test_not_tls(self) -> None:
        """A port that speaks something else fails as TLS, not as a timeout."""

        class Greeter(Protocol):
            def connectionMade(self) -> None:
                self.transport.write(b"SSH-2.0-OpenSSH_9.2\r\n")

        port = reactor.listenTCP(0, Factory.forProtocol(Greeter), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        problem = await self.assertFailure(self.connect(port.getHost().port), LinkError)
        self.assertIn("TLS failed", str(problem))

    async def test_cut(self) -> None:
        """A connection that breaks is said to be lost, at both ends."""
        link, _ = await self.open()
        link.transport.abortConnection()
        await until(lambda: self.peer.lost and self.coordinator.lost)
        self.assertEqual(self.coordinator.lost, ["the connection was lost"])


class ConnectTests(SynchronousTestCase):
    """What never gets as far as a handshake."""

    def connect(self, clock: Clock, outcome: Deferred[Protocol]) -> Deferred[ILink]:
        """Try to open a link by an endpoint that does what it is told."""

        class Endpoint:
            def connect(self, factory: Factory) -> Deferred[Protocol]:
                return outcome

        return connect(clock, Endpoint(), "vps.example", 8443, User(), pin=bytes(32))

    def test_silence(self) -> None:
        """What does not answer is given up after a while."""
        clock = Clock()
        opening = self.connect(clock, Deferred())
        clock.advance(limits.OPEN_SECONDS)
        problem = self.failureResultOf(opening, LinkError)
        self.assertIn("vps.example:8443 within 10 s", str(problem.value))

    def test_cancelled(self) -> None:
        """Giving up takes the TCP connection along, and leaves no timer."""
        clock = Clock()
        cancelled: list[object] = []
        opening = self.connect(clock, Deferred(cancelled.append))
        opening.cancel()
        self.failureResultOf(opening)
        self.assertEqual((len(cancelled), clock.getDelayedCalls()), (1, []))

    def test_unknown_name(self) -> None:
        """A name that does not exist is said not to."""
        opening = self.connect(Clock(), fail(DNSLookupError("x")))
        problem = self.failureResultOf(opening, LinkError)
        self.assertIn("its name is not known", str(problem.value))


REQUEST = {
    "Host": "vps.example",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "tunnelmesh.v1",
}


def http(first: str, fields: dict[str, str]) -> bytes:
    """An HTTP message's head."""
    lines = [first, *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode()


def message(payload: bytes, opcode: int = 2, *, fin: bool = True, masked: bool = True) -> bytes:
    """One WebSocket frame from a client; its mask is zero."""
    length = len(payload)
    if length < 126:
        header = bytes([fin << 7 | opcode, masked << 7 | length])
    else:
        header = struct.pack("!BBQ", fin << 7 | opcode, masked << 7 | 127, length)
        if length < 65536:
            header = struct.pack("!BBH", fin << 7 | opcode, masked << 7 | 126, length)
    return header + bytes(4 if masked else 0) + payload


class ServerTests(SynchronousTestCase):
    """A coordinator against clients that are not ours."""

    def setUp(self) -> None:
        """A client's TCP connection to the web site."""
        self.user = User()
        self.clock = Clock()
        self.wire = Wire(self.clock)
        factory = site(self.user, self.clock)
        channel = factory.buildProtocol(None)
        self.wire.protocol = channel
        channel.makeConnection(self.wire)

    def feed(self, *data: bytes) -> None:
        """Bytes from the client."""
        for each in data:
            self.wire.protocol.dataReceived(each)
        self.clock.advance(0)

    def open(self, member: bool = False) -> ILink:
        """Shake hands; a member has signed in already."""
        self.feed(http("GET /v1/link HTTP/1.1", REQUEST))
        self.assertIn(b" 101 ", self.wire.value())
        self.wire.clear()
        (link,) = self.user.links
        if member:
            link.key = b"k" * 32
        return link

    def lost(self, part: str) -> None:
        """The link is gone for a reason, and nothing is left."""
        self.assertEqual(len(self.user.lost), 1)
        self.assertIn(part, self.user.lost[0])
        self.assertFalse(self.wire.connected)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_requests(self) -> None:
        """What is no WebSocket of ours is refused with an HTTP status and forgotten."""
        cases = (
            ("400", "GET", {"Sec-WebSocket-Protocol": "chat"}),
            ("400", "GET", {"Sec-WebSocket-Protocol": ""}),
            ("400", "GET", {"Sec-WebSocket-Key": "short"}),
            ("400", "GET", {"Sec-WebSocket-Version": "8"}),
            ("400", "GET", {"Content-Length": "0"}),
            ("400", "GET", {"Transfer-Encoding": "chunked"}),
            ("405", "POST", {}),
        )
        for status, method, changes in cases:
            self.setUp()
            end = b"0\r\n\r\n" if "Transfer-Encoding" in changes else b""
            self.feed(http(f"{method} /v1/link HTTP/1.1", REQUEST | changes), end)
            self.assertTrue(self.wire.value().startswith(f"HTTP/1.1 {status}".encode()))
            self.assertEqual(self.user.links, [])

    def test_no_upgrade(self) -> None:
        """A browser that comes by is told to upgrade, and nothing about our software."""
        self.feed(b"GET /v1/link HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b" 426 ", self.wire.value())
        self.assertNotIn(b"utobahn", self.wire.value())

    def test_site(self) -> None:
        """The site's other pages stay reachable."""
        self.feed(b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b" 404 ", self.wire.value())

    def test_slow_request(self) -> None:
        """A request that never ends is dropped."""
        self.feed(b"GET /v1/link HTTP/1.1\r\nHost: x\r\n")
        self.clock.advance(10)
        self.clock.advance(0)
        self.assertFalse(self.wire.connected)

    def test_silent_in_tls(self) -> None:
        """Neither may a client that says nothing, or begins TLS and stops, stay."""
        chain = certificate_chain(Ed25519PrivateKey.generate(), [], datetime.now(UTC))
        secured = TLSMemoryBIOFactory(
            server_tls(chain), False, site(self.user, self.clock), self.clock
        )
        for data in (b"", b"\x16\x03\x01\x01\x00"):
            wire = Wire(self.clock)
            wire.protocol = secured.buildProtocol(None)
            wire.protocol.makeConnection(wire)
            if data:
                wire.protocol.dataReceived(data)
            self.clock.advance(10)
            self.clock.advance(0)
            self.assertFalse(wire.connected)

    def test_extension_refused(self) -> None:
        """Compression is not agreed to: it would make bombs possible, and our data is random."""
        fields = REQUEST | {"Sec-WebSocket-Extensions": "permessage-deflate"}
        self.feed(http("GET /v1/link HTTP/1.1", fields))
        self.assertIn(b" 101 ", self.wire.value())
        self.assertNotIn(b"deflate", self.wire.value())

    def test_broken_rules(self) -> None:
        """Each breach of the rules ends the link at once."""
        frame = encode(SIGNAL, b"x")
        cases = (
            (message(b"hi", 1), "text message"),
            (message(frame[:-1]), "ends inside a frame"),
            (message(frame + frame[:3]), "ends inside a frame"),
            (message(struct.pack(">BBH", 1, 3, 0)), "announces"),
            (message(frame, masked=False), "unmasked"),
            (message(frame, 3), "reserved opcode"),
            (message(frame, 0), "continuation"),
            (b"\xc2" + message(frame)[1:], "RSV"),
            (b"\x82\xff" + b"\x7f" + bytes(11), "exceeds"),
            (message(b"\x00\x01", 8), "invalid close code"),
        )
        for data, part in cases:
            self.setUp()
            self.open(member=True)
            self.feed(data)
            self.lost(part)
            self.assertEqual(self.user.frames, [])

    def test_too_long(self) -> None:
        """A message is refused when its length is announced, before it is held."""
        for member, limit in (
            (True, limits.MAX_MESSAGE),
            (False, limits.MAX_STRANGERS_MESSAGE),
        ):
            self.setUp()
            self.open(member)
            self.feed(message(bytes(limit + 1))[:100])
            self.assertFalse(self.wire.connected)

    def test_too_long_in_parts(self) -> None:
        """Neither does cutting a message into WebSocket fragments help."""
        for member, limit in (
            (True, limits.MAX_MESSAGE),
            (False, limits.MAX_STRANGERS_MESSAGE),
        ):
            self.setUp()
            self.open(member)
            self.feed(message(b"", fin=False))
            for _ in range(limit // 1000):
                self.feed(message(bytes(1000), 0, fin=False))
            self.assertTrue(self.wire.connected)
            self.feed(message(bytes(1000), 0, fin=False))
            self.assertFalse(self.wire.connected)

    def test_fragments(self) -> None:
        """A message in fragments, as a proxy may cut it, is one message."""
        self.open()
        frame = encode(SIGNAL, b"hello")
        self.feed(message(frame[:3], fin=False), message(b"", 9), message(frame[3:], 0))
        self.assertEqual(self.user.frames, [(SIGNAL, b"hello")])

    def test_pings(self) -> None:
        """Pings are answered, but not to a client that does not read the answers."""
        self.open()
        self.feed(message(b"a", 9))
        self.assertEqual(self.wire.value(), b"\x8a\x01a")
        self.wire.producer.pauseProducing()
        self.feed(*[message(b"b", 9)] * 100)
        self.assertEqual(self.wire.value(), b"\x8a\x01a")

    def test_back_pressure(self) -> None:
        """TCP's full buffer pauses the link, and its own pause stops reading; they are two."""
        link = self.open()
        self.wire.producer.pauseProducing()
        self.assertTrue(link.paused)
        self.assertFalse(link.send_bulk(BULK))
        self.assertEqual(self.wire.producerState, "producing")
        self.wire.producer.resumeProducing()
        self.assertTrue(link.send_bulk(BULK))
        link.pauseProducing()
        self.assertEqual((self.wire.producerState, link.paused), ("paused", False))
        link.resumeProducing()
        self.assertEqual(self.wire.producerState, "producing")
        self.assertEqual(self.user.changes, ["paused", "resumed"])

    def test_close_unanswered(self) -> None:
        """A client that does not take part in closing is cut off after a while."""
        link = self.open()
        self.wire.stuck = True
        link.close("restart")
        self.assertIn(b"restart", self.wire.value())
        self.clock.advance(limits.CLOSE_SECONDS)
        self.clock.advance(0)
        self.lost("restart")

    def test_client_closes_and_stays(self) -> None:
        """Nor may one that closes hold on to the connection."""
        self.open()
        self.wire.stuck = True
        self.feed(message(b"\x03\xe8bye\n", 8))
        self.assertTrue(self.wire.connected)
        self.clock.advance(limits.CLOSE_SECONDS)
        self.clock.advance(0)
        self.lost("closed the connection: bye")
        self.assertNotIn("\n", self.user.lost[0])

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(st.lists(st.one_of(st.binary(max_size=80), st.binary(max_size=80).map(message))))
    def test_any_bytes(self, data: list[bytes]) -> None:
        """Whatever comes, nothing is raised, and a link that is lost is lost once."""
        self.setUp()
        self.open()
        for each in data:
            if self.wire.connected:
                self.feed(each)
        self.assertEqual(len(self.user.lost), 0 if self.wire.connected else 1)
        self.assertEqual(self.flushLoggedErrors(), [])


class ClientTests(SynchronousTestCase):
    """A peer against servers that are no coordinators."""

    def setUp(self) -> None:
        """A connection on which the request is sent."""
        self.user = User()
        self.clock = Clock()
        self.wire = Wire(self.clock)
        self.link = ClientLink(self.clock, self.user, "2001:db8::1", 8443)
        self.wire.protocol = ClientFactory(self.clock, self.link).buildProtocol(None)
        self.link.makeConnection(self.wire)

    def answer(self, status: str = "101 Switching Protocols", **changes: str) -> bytes:
        """The right answer to the request, or a wrong one."""
        key = self.link.websocket_key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        fields = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": base64.b64encode(hashlib.sha1(key).digest()).decode(),
            "Sec-WebSocket-Protocol": "tunnelmesh.v1",
        }
        for name, value in changes.items():
            fields[name.replace("_", "-")] = value
        return http(f"HTTP/1.1 {status}", fields)

    def feed(self, data: bytes) -> None:
        """Bytes from the server."""
        self.link.dataReceived(data)
        self.clock.advance(0)

    def refused(self, part: str) -> None:
        """The link did not open, for a reason; its user has not heard of it."""
        problem = self.failureResultOf(self.link.link, LinkError)
        self.assertIn(part, str(problem.value))
        self.assertIn("[2001:db8::1]:8443", str(problem.value))
        self.assertEqual(self.user.links + self.user.lost, [])
        self.assertFalse(self.wire.connected)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_request(self) -> None:
        """The request names the host as the user did, our subprotocol, and no extension."""
        head = self.wire.value().lower()
        self.assertIn(b"get /v1/link http/1.1\r\n", head)
        self.assertIn(b"\r\nhost: [2001:db8::1]:8443\r\n", head)
        self.assertIn(b"\r\nsec-websocket-protocol: tunnelmesh.v1\r\n", head)
        self.assertNotIn(b"extensions", head)

    def test_open(self) -> None:
        """The right answer opens the link, and frames may follow it at once."""
        self.feed(self.answer() + message(encode(SIGNAL, b"hello"), masked=False))
        self.assertIs(self.successResultOf(self.link.link), self.link)
        self.assertEqual(self.user.frames, [(SIGNAL, b"hello")])

    def test_refusals(self) -> None:
        """What the answer really is, is in the message."""
        for status in ("403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"):
            self.setUp()
            self.feed(self.answer(status))
            self.refused(repr(status))

    def test_wrong_answers(self) -> None:
        """An answer that is wrong in one way is not taken."""
        cases = (
            ({"Sec_WebSocket_Protocol": ""}, "tunnelmesh.v1"),
            ({"Sec_WebSocket_Protocol": "chat"}, "chat"),
            ({"Sec_WebSocket_Accept": "x"}, "Accept"),
            ({"Sec_WebSocket_Extensions": "permessage-deflate"}, "compress"),
            ({"Upgrade": "h2c"}, "Upgrade"),
        )
        for changes, part in cases:
            self.setUp()
            self.feed(self.answer(**changes))
            self.refused(part)

    def test_not_http(self) -> None:
        """Neither is anything else."""
        for data in (b"\xff\xfe\r\n\r\n", b"\r\n\r\n", b"220 mail\r\n\r\n", b"HTTP/1.1 \r\n\r\n"):
            self.setUp()
            self.feed(data)
            self.refused("no WebSocket link")

    def test_endless_answer(self) -> None:
        """An answer without an end is not held."""
        self.feed(b"HTTP/1.1 101 OK\r\nX: " + bytes(MAX_ANSWER))
        self.refused("too long")

    def test_closed(self) -> None:
        """A server that closes instead of answering is said to have closed, or to be lost."""
        for reason, words in (
            (ConnectionDone(), "closed the connection"),
            (ConnectionLost(), "was lost"),
        ):
            self.setUp()
            self.wire.connected = False
            self.link.connectionLost(Failure(reason))
            self.refused(words)

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(
        st.binary(max_size=200).map(lambda tail: b"HTTP/1.1 101 x\r\n" + tail + b"\r\n\r\n")
        | st.binary(max_size=200)
    )
    def test_any_answer(self, data: bytes) -> None:
        """Whatever comes, nothing is raised and no link opens."""
        self.setUp()
        self.feed(data)
        self.assertEqual(self.user.links, [])
        self.assertEqual(self.flushLoggedErrors(), [])
        if self.link.link.called:
            self.failureResultOf(self.link.link, LinkError)
