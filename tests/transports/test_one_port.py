"""TLS, SSH and plain HTTP on one port."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.transports.ssh_pair import HOST_KEY, MEMBER_KEY, Pipe, RecordingUser, public
from tunnelmesh.transports import strangers
from tunnelmesh.transports.one_port import (
    MAX_HEAD,
    REDIRECT_SECONDS,
    SILENCE,
    OnePortFactory,
    redirect,
)
from tunnelmesh.transports.ssh.client import connect
from tunnelmesh.transports.ssh.server import make_ssh_factory
from tunnelmesh.transports.tls import certificate_chain, client_tls, server_tls
from tunnelmesh.wire.frame import SIGNAL, encode

ADDRESS = IPv4Address("TCP", "192.0.2.1", 40000)


class Inner(Protocol):
    """A protocol behind the port."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class Inners(Factory[Any]):
    """Makes them, unless it is full; counts starts and stops."""

    noisy = False

    def __init__(self) -> None:
        self.made: list[Inner] = []
        self.started = 0
        self.full = False

    def buildProtocol(self, addr: IAddress | None) -> Inner | None:
        if self.full:
            return None
        self.address = addr
        self.made.append(Inner())
        return self.made[-1]

    def startFactory(self) -> None:
        self.started += 1

    def stopFactory(self) -> None:
        self.started -= 1


class InMemory(SynchronousTestCase):
    """What the tests share: a port with recorders behind it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.tls, self.ssh = Inners(), Inners()
        self.factory = OnePortFactory(self.clock, self.tls, self.ssh)

    def connected(self, *chunks: bytes) -> Pipe:
        """A connection over which *chunks* have arrived."""
        pipe = Pipe(40000)
        pipe.protocol = self.factory.buildProtocol(ADDRESS)
        pipe.protocol.makeConnection(pipe)
        for chunk in chunks:
            pipe.protocol.dataReceived(chunk)
        return pipe

    def lose(self, pipe: Pipe) -> None:
        """TCP goes away; nothing is left."""
        pipe.protocol.connectionLost(Failure(connectionDone.value))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.factory.strangers), 0)


class OnePortTests(InMemory):
    """Which protocol a connection is handed to."""

    def test_tls(self) -> None:
        """A ClientHello goes to TLS, with its first bytes and the client's address."""
        pipe = self.connected(b"\x16\x03\x01\x02\x00hello", b"more")
        (inner,) = self.tls.made
        self.assertEqual(inner.received, b"\x16\x03\x01\x02\x00hellomore")
        self.assertIs(self.tls.address, ADDRESS)
        self.assertIs(inner.transport, pipe)
        self.assertEqual(self.factory.counts, {"tls": 1})
        self.lose(pipe)
        self.assertIsNotNone(inner.lost)

    def test_ssh(self) -> None:
        """A version string goes to SSH."""
        pipe = self.connected(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.assertEqual(self.ssh.made[0].received, b"SSH-2.0-OpenSSH_9.2\r\n")
        self.lose(pipe)

    def test_byte_by_byte(self) -> None:
        """First bytes that come one at a time are put together."""
        for opening, inners in ((b"\x16\x03\x03\0", self.tls), (b"SSH-2.0-x\r\n", self.ssh)):
            pipe = self.connected(*[bytes([byte]) for byte in opening])
            self.assertEqual(inners.made[0].received, opening)
            self.lose(pipe)

    def test_producer(self) -> None:
        """The inner protocol's producer is the TCP connection's own."""
        pipe = self.connected(b"SSH-2.0-x\r\n")
        self.assertIs(pipe.producer, self.ssh.made[0])

    def test_silent_client(self) -> None:
        """Who waits for the server to begin is an SSH client, or nobody."""
        pipe = self.connected()
        self.assertEqual(self.ssh.made, [])
        self.clock.advance(SILENCE)
        self.assertEqual(len(self.ssh.made), 1)
        pipe.protocol.dataReceived(b"SSH-2.0-late\r\n")
        self.assertEqual(self.ssh.made[0].received, b"SSH-2.0-late\r\n")
        self.lose(pipe)

    def test_half_a_word(self) -> None:
        """Who begins and does not go on is sent away."""
        for word in (b"S", b"\x16", b"OPTIONS"):
            pipe = self.connected(word)
            self.assertFalse(pipe.disconnecting)
            self.clock.advance(SILENCE)
            self.assertTrue(pipe.disconnecting)
            self.lose(pipe)
        self.assertEqual(self.factory.counts, {"unknown": 3})

    def test_anything_else(self) -> None:
        """Other first bytes end the connection at once, and what follows is not looked at."""
        for opening in (b"\0", b"\x16\x02", b"SSH+", b"get / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n"):
            pipe = self.connected(opening, b"SSH-2.0-x\r\n")
            self.assertTrue(pipe.disconnecting)
            self.lose(pipe)
        self.assertEqual(self.factory.counts, {"unknown": 5})
        self.assertEqual(self.tls.made + self.ssh.made, [])

    def test_full_behind(self) -> None:
        """A factory that takes nobody ends the connection."""
        self.ssh.full = True
        pipe = self.connected(b"SSH-2.0-x\r\n")
        self.assertTrue(pipe.disconnecting)
        self.lose(pipe)

    def test_lost_undecided(self) -> None:
        """A connection that goes before it has spoken leaves nothing."""
        self.lose(self.connected())

    def test_bounded(self) -> None:
        """Undecided connections from one address are few; decided ones do not count."""
        for _ in range(100):
            self.connected(b"SSH-2.0-x\r\n")
        for _ in range(strangers.MAX_STRANGERS_EACH):
            self.connected()
        self.assertIsNone(self.factory.buildProtocol(ADDRESS))
        self.assertEqual(self.factory.counts["turned away"], 1)
        self.assertIsNotNone(self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.9", 1)))

    def test_start_and_stop(self) -> None:
        """The inner factories start and stop with the port."""
        self.factory.doStart()
        self.assertEqual((self.tls.started, self.ssh.started), (1, 1))
        self.factory.doStop()
        self.assertEqual((self.tls.started, self.ssh.started), (0, 0))


class RedirectTests(InMemory):
    """Plain HTTP."""

    def test_redirect(self) -> None:
        """A request is sent to the same place with https, and the connection closes."""
        pipe = self.connected(b"GET /a?b=c HTTP/1.1\r\nHost: mesh.exam", b"ple:443\r\n\r\nbody")
        self.assertIn(b"308 Permanent Redirect\r\n", pipe.sent)
        self.assertIn(b"\r\nLocation: https://mesh.example:443/a?b=c\r\n", pipe.sent)
        self.assertTrue(pipe.disconnecting)
        self.lose(pipe)

    def test_slow(self) -> None:
        """A head that does not end is cut off by time."""
        pipe = self.connected(b"GET / HTTP/1.1\r\n")
        self.clock.advance(REDIRECT_SECONDS)
        self.assertTrue(pipe.disconnecting)
        self.lose(pipe)

    def test_long(self) -> None:
        """And by length."""
        pipe = self.connected(b"GET / HTTP/1.1\r\n", b"X: y\r\n" * MAX_HEAD)
        self.assertIn(b"400 Bad Request", pipe.sent)
        self.assertTrue(pipe.disconnecting)
        self.lose(pipe)

    def test_hosts(self) -> None:
        """Only what is plainly a host is sent back; port 80 is dropped."""
        for host, expected in (
            (b"mesh.example", b"mesh.example"),
            (b"192.0.2.7:8443", b"192.0.2.7:8443"),
            (b"[2001:db8::1]:443", b"[2001:db8::1]:443"),
            (b"mesh.example:80", b"mesh.example"),
            (b"user@evil.example", None),
            (b"evil.example/path", None),
            (b"a b", None),
            (b"", None),
            (b"x" * 300, None),
        ):
            answer = redirect(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
            if expected is None:
                self.assertIn(b"400 Bad Request", answer)
            else:
                self.assertIn(b"Location: https://" + expected + b"/\r\n", answer)

    def test_paths(self) -> None:
        """Only a plain path is sent back."""
        for path in (b"//evil.example/", b"/%0d%0a"):
            answer = redirect(b"GET " + path + b" HTTP/1.1\r\nHost: me\r\n\r\n")
            self.assertIn(b"Location: https://me" + path + b"\r\n", answer)
        for path in (b"http://evil.example/", b"*", b"/\xff", b"/\x07", b""):
            answer = redirect(b"GET " + path + b" HTTP/1.1\r\nHost: me\r\n\r\n")
            self.assertIn(b"400 Bad Request", answer)

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.binary(max_size=100), st.binary(max_size=60))
    def test_noise(self, path: bytes, host: bytes) -> None:
        """Nothing that a client sends adds a line to the answer."""
        answer = redirect(b"GET /" + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        lines = answer.split(b"\r\n")
        self.assertIn(len(lines), (6, 7))
        for line in lines[:-1]:
            self.assertNotIn(b"\n", line)
            self.assertNotIn(b"\r", line)


class Fetch(Protocol):
    """Sends a request and keeps everything until the connection closes."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.received = b""
        self.done: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.request)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(self.received)


class Big(Resource):
    """A page that does not fit into TCP's buffers."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"p" * (8 << 20)


class LoopbackTests(TestCase):
    """The real protocols behind a real port."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.user = RecordingUser()
        chain = certificate_chain(HOST_KEY, ["127.0.0.1"], datetime.now(UTC))
        tls = TLSMemoryBIOFactory(server_tls(chain), False, Site(Big()))
        ssh = make_ssh_factory(
            reactor, HOST_KEY, lambda key: key == public(MEMBER_KEY), lambda: self.user
        )
        self.factory = OnePortFactory(reactor, tls, ssh)
        port = self.reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)

    async def test_https(self) -> None:
        """A large page arrives whole over TLS."""
        endpoint = wrapClientTLS(
            client_tls("127.0.0.1", public(HOST_KEY)), self.endpoint, self.reactor
        )
        fetch = Fetch(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await endpoint.connect(Factory.forProtocol(lambda: fetch))
        head, _, body = (await fetch.done).partition(b"\r\n\r\n")
        self.assertIn(b"200 OK", head)
        self.assertEqual(len(body), 8 << 20)

    async def test_ssh(self) -> None:
        """A peer's SSH link opens, carries and closes."""
        user = RecordingUser()
        link: Any = await connect(self.reactor, self.endpoint, MEMBER_KEY, public(HOST_KEY), user)
        lost: Deferred[None] = Deferred()
        self.user.link_lost = lambda link, reason: lost.callback(None)  # type: ignore[method-assign]
        link.send(encode(SIGNAL, b"hello"))
        link.close("done")
        await lost
        self.assertEqual(self.user.frames, [(SIGNAL, b"hello")])
        self.assertTrue(self.user.link.remote.startswith("127.0.0.1:"))

    async def test_http(self) -> None:
        """A browser that forgets the s is told."""
        fetch = Fetch(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1:443\r\n\r\n")
        await self.endpoint.connect(Factory.forProtocol(lambda: fetch))
        self.assertIn(b"Location: https://127.0.0.1:443/status\r\n", await fetch.done)
