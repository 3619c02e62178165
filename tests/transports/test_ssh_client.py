"""A peer's end of the SSH tunnel: whom it trusts, and how it fails."""

from __future__ import annotations

import socket
from struct import pack
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.conch.ssh.common import NS
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.transports.ssh_pair import (
    HOST_KEY,
    MEMBER_KEY,
    STRANGER_KEY,
    HeldEndpoint,
    Pipe,
    RecordingUser,
    Tunnel,
    public,
)
from tunnelmesh.errors import LinkError, ProxyError, TrustError
from tunnelmesh.identity import fingerprint
from tunnelmesh.interfaces import ILink
from tunnelmesh.transports.ssh.client import CONNECT_SECONDS, connect
from tunnelmesh.transports.ssh.server import make_ssh_factory
from tunnelmesh.transports.ssh.transport import CLOSE_SECONDS, MAX_UNSENT
from tunnelmesh.wire.frame import RELAY, encode


class RefusalTests(SynchronousTestCase):
    """Ways in which no link opens; each is one error that says what to do."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.user = RecordingUser()
        self.endpoint = HeldEndpoint()
        self.opening = connect(self.clock, self.endpoint, MEMBER_KEY, public(HOST_KEY), self.user)

    def raw(self, *chunks: bytes) -> Pipe:
        """TCP connects, and the server sends *chunks*."""
        pipe = Pipe(2222)
        pipe.protocol = self.endpoint.protocol
        pipe.protocol.makeConnection(pipe)
        self.endpoint.connected.callback(pipe.protocol)
        for chunk in chunks:
            pipe.protocol.dataReceived(chunk)
        return pipe

    def lose(self, pipe: Pipe) -> None:
        """TCP goes away; nothing is left behind."""
        pipe.protocol.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.user.events, [])

    def test_wrong_host_key(self) -> None:
        """Another host key than the pinned one is refused, and both fingerprints are named."""
        tunnel = Tunnel(pin=STRANGER_KEY)
        failure = self.failureResultOf(tunnel.opening, TrustError)
        self.assertIn(fingerprint(public(HOST_KEY)), str(failure.value))
        self.assertIn(fingerprint(public(STRANGER_KEY)), str(failure.value))
        self.assertEqual(tunnel.server_user.events, [])
        self.assertIsNone(tunnel.server.key)
        self.assertEqual(tunnel.clock.getDelayedCalls(), [])

    def test_unknown_to_the_coordinator(self) -> None:
        """A machine that is not a member is told to join, with its fingerprint."""
        tunnel = Tunnel(identity=STRANGER_KEY)
        failure = self.failureResultOf(tunnel.opening, LinkError)
        self.assertIn(fingerprint(public(STRANGER_KEY)), str(failure.value))
        self.assertIn("invitation", str(failure.value))
        self.assertEqual(tunnel.client_user.events, [])
        self.assertEqual(tunnel.clock.getDelayedCalls(), [])

    def test_connection_refused(self) -> None:
        """A port that nobody listens on."""
        self.endpoint.connected.errback(ConnectionRefusedError())
        failure = self.failureResultOf(self.opening, LinkError)
        self.assertEqual(
            str(failure.value), "cannot reach the coordinator's SSH port: connection refused"
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_proxy_refuses(self) -> None:
        """What the endpoint says in our own words is not said again."""
        error = ProxyError("the proxy wants a password")
        self.endpoint.connected.errback(error)
        self.assertIs(self.failureResultOf(self.opening, ProxyError).value, error)

    def test_no_answer(self) -> None:
        """A filtered port: no TCP connection within the time."""
        self.clock.advance(CONNECT_SECONDS)
        self.assertIn("10 s", str(self.failureResultOf(self.opening, LinkError).value))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silent_server(self) -> None:
        """TCP connects and nothing follows: an error in time, and the connection is cut off."""
        pipe = self.raw()
        self.clock.advance(CONNECT_SECONDS)
        self.failureResultOf(self.opening, LinkError)
        self.assertTrue(pipe.disconnecting)
        self.clock.advance(CLOSE_SECONDS)
        self.lose(pipe)

    def test_not_ssh(self) -> None:
        """A web server, or noise, behind the port."""
        pipe = self.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertTrue(pipe.disconnecting)
        self.lose(pipe)
        self.failureResultOf(self.opening, LinkError)

    def test_server_hangs_up(self) -> None:
        """A connection that is closed at once, as by a full server."""
        pipe = self.raw()
        self.lose(pipe)
        self.failureResultOf(self.opening, LinkError)

    def test_cancel(self) -> None:
        """Cancelling gives up, at whatever stage."""
        self.endpoint.connected.addErrback(lambda _: Failure(ConnectingCancelledError(None)))
        self.opening.cancel()
        self.failureResultOf(self.opening, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        tunnel = Tunnel(is_member=lambda key: Deferred())
        tunnel.opening.cancel()
        tunnel.pump()
        self.failureResultOf(tunnel.opening)
        self.assertTrue(tunnel.at_client.disconnected)
        self.assertEqual(tunnel.clock.getDelayedCalls(), [])

    def test_lost_before_the_channel(self) -> None:
        """A connection that breaks while the coordinator thinks."""
        tunnel = Tunnel(is_member=lambda key: Deferred())
        tunnel.at_server.abortConnection()
        tunnel.pump()
        self.failureResultOf(tunnel.opening, LinkError)
        self.assertEqual(tunnel.client_user.events, [])

    def test_server_opens_channels(self) -> None:
        """A coordinator may open nothing on the peer."""
        tunnel = Tunnel()
        answers: list[int] = []
        tunnel.server.service.packetReceived = lambda number, payload: answers.append(number)
        for name in (b"frames@tunnelmesh", b"session", b"forwarded-tcpip", b"x11"):
            tunnel.server.sendPacket(90, NS(name) + pack(">3L", 9, 1 << 20, 1 << 15))
        tunnel.pump()
        self.assertEqual(answers, [92] * 4)
        self.assertEqual(len(tunnel.client.service.channels), 1)
        self.assertIsNone(tunnel.client_user.lost)

    @settings(max_examples=60, derandomize=True, deadline=None)
    @given(st.binary(max_size=400), st.booleans())
    def test_noise(self, noise: bytes, versioned: bool) -> None:
        """Random bytes from the server end in a LinkError; nothing is raised or logged."""
        self.setUp()
        pipe = self.raw(b"SSH-2.0-x\r\n" if versioned else b"", noise)
        self.lose(pipe)
        self.failureResultOf(self.opening, LinkError)

    @settings(max_examples=60, derandomize=True, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 120), st.binary(max_size=80)), max_size=5))
    def test_noise_from_the_trusted(self, messages: list[tuple[int, bytes]]) -> None:
        """Random messages from the coordinator itself end the link at worst."""
        tunnel = Tunnel()
        tunnel.server.service.packetReceived = lambda number, payload: None
        for number, payload in messages:
            if not tunnel.server.ended:
                tunnel.server.sendPacket(number, payload)
        tunnel.pump()
        tunnel.client_user.link.close("done")
        tunnel.clock.advance(CLOSE_SECONDS)
        tunnel.pump()
        self.assertEqual(tunnel.client_user.events[-1], "lost")


class LoopbackTests(TestCase):
    """The same over real TCP."""

    async def test_loopback(self) -> None:
        """A link opens, carries megabytes both ways with rekeys and pauses, and closes."""
        from twisted.internet import reactor

        users: list[Echo] = []

        def make_user() -> Echo:
            users.append(Echo(count=64))
            return users[-1]

        factory = make_ssh_factory(
            reactor, HOST_KEY, lambda key: key == public(MEMBER_KEY), make_user
        )
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        user = Echo(count=64)
        link: Any = await connect(reactor, endpoint, MEMBER_KEY, public(HOST_KEY), user)
        link.conn.transport.rekey_bytes = 1 << 20
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            handle = link.conn.transport.transport.getHandle()
            unsent = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
            self.assertEqual(unsent, MAX_UNSENT)
        user.fill()
        users[0].fill()
        await user.complete
        await users[0].complete
        self.assertGreater(link.conn.transport.exchanges, 3)
        link.close("done")
        self.assertEqual(await user.gone, "done")
        await users[0].gone

    async def test_close_while_full(self) -> None:
        """A link that closes with its buffers full delivers what it took, and then its reason."""
        from twisted.internet import reactor

        server_user = Echo(count=1000)
        factory = make_ssh_factory(reactor, HOST_KEY, lambda key: True, lambda: server_user)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        user = Echo(count=1000)
        link: Any = await connect(reactor, endpoint, MEMBER_KEY, public(HOST_KEY), user)
        user.fill()
        self.assertTrue(link.paused)
        link.close("done")
        self.assertEqual(await server_user.gone, "done")
        await user.gone
        self.assertEqual(len(server_user.frames), user.sent)


class Echo(RecordingUser):
    """Sends numbered frames whenever there is room, and checks the other's."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.sent = 0
        self.complete: Deferred[None] = Deferred()
        self.gone: Deferred[str] = Deferred()

    def fill(self) -> None:
        while self.sent < self.count:
            if not self.link.send_bulk(encode(RELAY, bytes([self.sent % 256]) * 100_000)):
                return
            self.sent += 1

    def link_resumed(self, link: ILink) -> None:
        self.fill()

    def frames_received(self, link: ILink, frames: Any) -> None:
        super().frames_received(link, frames)
        if len(self.frames) == self.count:
            expected = [(RELAY, bytes([number]) * 100_000) for number in range(self.count)]
            assert self.frames == expected
            self.complete.callback(None)

    def link_lost(self, link: ILink, reason: str) -> None:
        self.gone.callback(reason)
