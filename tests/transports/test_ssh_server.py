"""The coordinator's SSH port against strangers, and members who misbehave."""

from __future__ import annotations

from struct import pack
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.keys import Key
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.transports.ssh_pair import (
    HOST_KEY,
    MEMBER_KEY,
    STRANGER_KEY,
    Pair,
    Pipe,
    RecordingUser,
    Stranger,
    Tunnel,
    public,
    stranger,
)
from tunnelmesh.transports import strangers
from tunnelmesh.transports.ssh import server as ssh_server
from tunnelmesh.transports.ssh import signin
from tunnelmesh.transports.ssh.channel import CHANNEL_TYPE, MAX_PACKET, WINDOW
from tunnelmesh.transports.ssh.server import make_ssh_factory
from tunnelmesh.transports.ssh.transport import (
    CLOSE_SECONDS,
    LOGIN_BYTES,
    LOGIN_SECONDS,
    MAX_BACKLOG,
)
from tunnelmesh.wire.frame import SIGNAL, encode

SERVICE_REQUEST, NEWKEYS = 5, 21
GLOBAL_REQUEST, REQUEST_FAILURE = 80, 82
CHANNEL_OPEN, OPEN_FAILURE = 90, 92
DATA, EXTENDED_DATA, EOF, CLOSE = 94, 95, 96, 97
CHANNEL_REQUEST, CHANNEL_FAILURE = 98, 100


def in_clear(number: int, payload: bytes) -> bytes:
    """An SSH packet (RFC 4253 §6) without encryption."""
    padding = 16 - (6 + len(payload)) % 8
    length = 2 + len(payload) + padding
    return pack(">LBB", length, padding, number) + payload + b"\0" * padding


class ServerTests(SynchronousTestCase):
    """What they share: a server with one member."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.users: list[RecordingUser] = []
        self.factory = make_ssh_factory(self.clock, HOST_KEY, self.is_member, self.make_user)

    def is_member(self, key: bytes) -> bool:
        return key == public(MEMBER_KEY)

    def make_user(self) -> RecordingUser:
        self.users.append(RecordingUser())
        return self.users[-1]

    def connected(self) -> Pair:
        """A stranger with keys exchanged and the sign-in service granted."""
        return stranger(self.factory, self.clock)

    def assert_ended(self, pair: Any, why: str) -> None:
        """The server has closed the connection, for that reason, and keeps nothing of it."""
        self.assertTrue(pair.at_server.disconnected, "still connected")
        self.assertIn(why, pair.server.reason)
        self.assertEqual(len(self.factory._strangers), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RawTests(ServerTests):
    """Bytes that are not SSH."""

    def raw(self, *chunks: bytes) -> Any:
        """A connection that sends *chunks*."""
        server = self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        pipe = Pipe(1)
        pipe.protocol = server
        server.makeConnection(pipe)
        for chunk in chunks:
            server.dataReceived(chunk)
        return server

    def test_garbage_banners(self) -> None:
        """Whatever is sent instead of a version string ends the connection."""
        for text in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\0\xa5" * 20 + b"\n", b"\0\n", b"\n"):
            server = self.raw(text, b"more\n")
            self.clock.advance(LOGIN_SECONDS)
            self.assertTrue(server.ended, text)
            self.assertTrue(server.transport.disconnecting)
            server.connectionLost()

    def test_old_version(self) -> None:
        """SSH 1 is refused."""
        self.assertIn("bad version", self.raw(b"SSH-1.5-old\r\n").reason)

    def test_endless_version_line(self) -> None:
        """A version line that does not end is cut off after a few kilobytes."""
        server = self.raw(*[b"SSH-2.0-" + b"x" * 1000] * 8)
        self.assertTrue(server.ended)
        self.assertLess(len(server.buf), LOGIN_BYTES)

    def test_silence(self) -> None:
        """Who says nothing is sent away; who does not even listen is cut off."""
        server = self.raw()
        self.clock.advance(LOGIN_SECONDS)
        self.assertTrue(server.transport.disconnecting)
        self.assertTrue(server.transport.buffer)
        self.clock.advance(CLOSE_SECONDS)
        self.assertFalse(server.transport.buffer)

    def test_oversized_packet(self) -> None:
        """A packet longer than any is refused at its length, in clear and sealed."""
        server = self.raw(b"SSH-2.0-x\r\n", pack(">LB", 0x7FFFFFFF, 4) + b"\0" * 60)
        self.assertIn("bad packet length", server.reason)
        pair = self.connected()
        pair.server.dataReceived(b"\xff" * 64)
        pair.pump()
        self.assertTrue(pair.at_server.disconnected)

    def test_slow_bytes(self) -> None:
        """A packet that trickles in is cut off by time and by bytes, whichever is first."""
        server = self.raw(b"SSH-2.0-x\r\n", pack(">LB", 1 << 19, 4))
        for _ in range(40):
            server.dataReceived(b"\0" * 1024)
        self.assertIn("too many bytes", server.reason)

    @settings(max_examples=60, derandomize=True, deadline=None)
    @given(st.binary(max_size=400), st.booleans())
    def test_noise(self, noise: bytes, versioned: bool) -> None:
        """Random bytes, after a version string or instead of it, raise and log nothing."""
        server = self.raw(b"SSH-2.0-x\r\n" if versioned else b"", noise)
        self.clock.advance(LOGIN_SECONDS)
        self.assertTrue(server.ended)
        server.connectionLost()

    @settings(max_examples=60, derandomize=True, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), max_size=6))
    def test_messages_in_clear(self, messages: list[tuple[int, bytes]]) -> None:
        """Well-formed packets before the key exchange open nothing, raise and log nothing."""
        server = self.raw(b"SSH-2.0-x\r\n", *(in_clear(*message) for message in messages))
        self.assertIsNone(server.service)
        self.assertIsNone(server.key)
        server.connectionLost()
        for call in self.clock.getDelayedCalls():
            call.cancel()

    def test_service_in_clear(self) -> None:
        """Sign-in is not served before the key exchange."""
        server = self.raw(b"SSH-2.0-x\r\n", in_clear(SERVICE_REQUEST, NS(b"ssh-userauth")))
        self.assertIn("SSH message 5 before the key exchange", server.reason)
        self.assertIsNone(server.service)


class SignInTests(ServerTests):
    """Who gets in."""

    def request(self, pair: Pair, method: bytes, rest: bytes, service: bytes = b"") -> int | None:
        """Ask to be let in; the number of the answer's message, None without one."""
        pair.client.received.clear()
        pair.client.sendPacket(
            signin.REQUEST,
            NS(b"user") + NS(service or signin.CONNECTION) + NS(method) + rest,
        )
        pair.pump()
        return pair.client.received[0][0] if pair.client.received else None

    def public_key(self, pair: Pair, key: Any, name: bytes = b"") -> int | None:
        """Sign in properly with any kind of key."""
        conch_key = Key(key)
        algorithm = name or conch_key.sshType()
        head = b"\1" + NS(algorithm) + NS(conch_key.public().blob())
        signed = (
            NS(pair.client.sessionID)
            + bytes([signin.REQUEST])
            + NS(b"user")
            + NS(signin.CONNECTION)
            + NS(b"publickey")
            + head
        )
        signature = conch_key.sign(signed, signatureType=algorithm)
        return self.request(pair, b"publickey", head + NS(signature))

    def test_member(self) -> None:
        """The test's own way to sign in works for a member: the refusals mean something."""
        pair = self.connected()
        self.assertEqual(self.public_key(pair, MEMBER_KEY), signin.SUCCESS)
        self.assertEqual(pair.server.key, public(MEMBER_KEY))

    def test_unknown_keys(self) -> None:
        """An unknown Ed25519 key, RSA and ECDSA keys are refused."""
        pair = self.connected()
        rsa_key = rsa.generate_private_key(65537, 2048)
        self.assertEqual(self.public_key(pair, STRANGER_KEY), signin.FAILURE)
        self.assertEqual(self.public_key(pair, rsa_key, b"rsa-sha2-512"), signin.FAILURE)
        ec_key = ec.generate_private_key(ec.SECP256R1())
        self.assertEqual(self.public_key(pair, ec_key), signin.FAILURE)
        self.assertEqual(self.factory.counts["refused"], 3)
        self.assertIsNone(pair.server.key)

    def test_other_methods(self) -> None:
        """No password, no keyboard-interactive, no host-based, no none: only keys are offered."""
        for method, rest in (
            (b"none", b""),
            (b"password", b"\0" + NS(b"secret")),
            (b"keyboard-interactive", NS(b"") + NS(b"")),
            (b"hostbased", NS(b"ssh-ed25519") + NS(b"") * 4),
            (b"\xff\xfe", b""),
        ):
            pair = self.connected()
            self.assertEqual(self.request(pair, method, rest), signin.FAILURE)
            methods, partial = getNS(pair.client.received[0][1])
            self.assertEqual((methods, partial), (b"publickey", b"\0"))
            pair.client.end("done")
            pair.pump()

    def test_another_service(self) -> None:
        """A member's key opens ssh-connection only."""
        blob = NS(b"ssh-ed25519") + NS(public(MEMBER_KEY))
        pair = self.connected()
        rest = b"\0" + NS(b"ssh-ed25519") + NS(blob)
        self.assertEqual(self.request(pair, b"publickey", rest, b"ssh-other"), signin.FAILURE)

    def test_query(self) -> None:
        """A client that asks first whether its key will do is told."""
        blob = NS(b"ssh-ed25519") + NS(public(MEMBER_KEY))
        pair = self.connected()
        rest = b"\0" + NS(b"ssh-ed25519") + NS(blob)
        self.assertEqual(self.request(pair, b"publickey", rest), signin.PK_OK)
        self.assertIsNone(pair.server.key)

    def test_wrong_signature(self) -> None:
        """A member's key with another key's, another session's or no signature is refused."""
        pair = self.connected()
        session = pair.client.sessionID or b""
        key = public(MEMBER_KEY)
        for signature in (
            STRANGER_KEY.sign(signin.signed_data(session, b"user", key)),
            MEMBER_KEY.sign(signin.signed_data(b"\0" * 32, b"user", key)),
            MEMBER_KEY.sign(signin.signed_data(session, b"other", key)),
            b"",
        ):
            rest = signin.request(b"user", key)[len(NS(b"user") + NS(signin.CONNECTION)) :]
            rest = rest[len(NS(b"publickey")) :] + NS(signin.signature_blob(signature))
            self.assertEqual(self.request(pair, b"publickey", rest), signin.FAILURE)
        self.assertIsNone(pair.server.key)

    def test_attempts(self) -> None:
        """After a few attempts the connection ends."""
        pair = self.connected()
        for _ in range(ssh_server.MAX_ATTEMPTS):
            self.assertEqual(self.request(pair, b"none", b""), signin.FAILURE)
        for _ in range(3):  # what follows in the same segment is not looked at
            request = NS(b"user") + NS(signin.CONNECTION) + NS(b"none")
            pair.client.sendPacket(signin.REQUEST, request)
        pair.pump()
        self.assert_ended(pair, "too many attempts")
        self.assertEqual(pair.server.service._attempts, ssh_server.MAX_ATTEMPTS + 1)

    def test_connection_service_unasked(self) -> None:
        """ssh-connection cannot be asked for without signing in."""
        pair = self.connected()
        pair.client.sendPacket(SERVICE_REQUEST, NS(b"ssh-connection"))
        pair.pump()
        self.assert_ended(pair, "don't have service")

    def test_channel_before_sign_in(self) -> None:
        """A channel cannot be opened by a stranger."""
        pair = self.connected()
        pair.client.sendPacket(CHANNEL_OPEN, NS(CHANNEL_TYPE) + pack(">3L", 0, WINDOW, 1 << 15))
        pair.pump()
        self.assertEqual(self.users, [])
        self.clock.advance(LOGIN_SECONDS)
        pair.pump()
        self.assert_ended(pair, "not signed in")

    def test_signed_in_but_no_channel(self) -> None:
        """A member that opens no channel is sent away too."""
        pair = self.connected()
        self.public_key(pair, MEMBER_KEY)
        self.clock.advance(LOGIN_SECONDS)
        pair.pump()
        self.assert_ended(pair, "not signed in")
        self.assertEqual(self.users[0].events, [])

    def test_weak_algorithms(self) -> None:
        """A client that speaks only what is old is refused in the key exchange."""
        for name, value in (
            ("supportedCiphers", [b"aes256-cbc", b"3des-cbc"]),
            ("supportedMACs", [b"hmac-sha1", b"hmac-md5"]),
            ("supportedKeyExchanges", [b"diffie-hellman-group14-sha1"]),
            ("supportedPublicKeys", [b"ssh-rsa", b"rsa-sha2-256"]),
            ("supportedCompressions", [b"zlib"]),
        ):
            client = Stranger(self.clock)
            setattr(client, name, value)
            pair = stranger(self.factory, self.clock, client)
            self.assert_ended(pair, "couldn't match all kex parts")

    def test_members_later_known(self) -> None:
        """The look-up may take time; what a peer sends meanwhile is kept and acted on."""
        answers: list[Deferred[bool]] = []

        def ask(key: bytes) -> Deferred[bool]:
            answers.append(Deferred())
            return answers[-1]

        tunnel = Tunnel(is_member=ask)
        self.assertNoResult(tunnel.opening)
        answers[0].callback(True)
        tunnel.pump()
        self.successResultOf(tunnel.opening)
        self.assertEqual(tunnel.server_user.events, ["opened"])

    def test_gone_before_known(self) -> None:
        """A peer that leaves before the look-up ends leaves nothing behind."""
        answer: Deferred[bool] = Deferred()
        tunnel = Tunnel(is_member=lambda key: answer)
        tunnel.at_client.abortConnection()
        tunnel.pump()
        answer.callback(True)
        self.assertEqual(tunnel.server_user.events, [])
        self.assertIsNone(tunnel.server.key)
        self.failureResultOf(tunnel.opening)

    def test_flood_before_known(self) -> None:
        """What is kept during a look-up is bounded."""
        self.factory.is_member = lambda key: Deferred()
        pair = self.connected()
        self.public_key(pair, MEMBER_KEY)
        for _ in range(ssh_server.MAX_EARLY + 1):
            pair.client.sendPacket(CHANNEL_OPEN, b"")
        pair.pump()
        self.assert_ended(pair, "too many messages")

    def test_look_up_fails(self) -> None:
        """A registry that cannot be read lets nobody in, and says so in the log."""

        def broken(key: bytes) -> bool:
            raise ZeroDivisionError

        self.factory.is_member = broken
        pair = self.connected()
        self.assertEqual(self.public_key(pair, MEMBER_KEY), signin.FAILURE)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class LimitTests(ServerTests):
    """How many strangers."""

    def connect(self, host: str) -> Any:
        family = IPv6Address if ":" in host else IPv4Address
        return self.factory.buildProtocol(family("TCP", host, 1))

    def test_one_address(self) -> None:
        """An address has so many connections that are not signed in; others are not affected."""
        taken = [self.connect("192.0.2.1") for _ in range(strangers.MAX_STRANGERS_EACH)]
        self.assertIsNone(self.connect("192.0.2.1"))
        self.assertIsNotNone(self.connect("192.0.2.2"))
        self.assertEqual(self.factory.counts["turned away"], 1)
        self.factory.settled(taken[0])
        self.assertIsNotNone(self.connect("192.0.2.1"))

    def test_one_ipv6_network(self) -> None:
        """The addresses of an IPv6 /64 count as one."""
        for number in range(strangers.MAX_STRANGERS_EACH):
            self.assertIsNotNone(self.connect(f"2001:db8::{number:x}"))
        self.assertIsNone(self.connect("2001:db8::ffff"))
        self.assertIsNotNone(self.connect("2001:db8:0:1::1"))

    def test_all_together(self) -> None:
        """All strangers together are bounded."""
        for number in range(2 * strangers.MAX_STRANGERS):
            self.connect(f"198.51.{number // 256}.{number % 256}")
        self.assertEqual(len(self.factory._strangers), strangers.MAX_STRANGERS)

    def test_members_are_not_strangers(self) -> None:
        """Who has signed in is not counted any more."""
        tunnel = Tunnel()
        self.assertEqual(len(tunnel.factory._strangers), 0)
        self.assertEqual(tunnel.factory.counts, {"opened": 1})


class MemberTests(SynchronousTestCase):
    """A member whose program is hostile."""

    def setUp(self) -> None:
        self.tunnel = Tunnel()
        self.answers: list[tuple[int, bytes]] = []
        self.tunnel.client.service.packetReceived = lambda number, payload: self.answers.append(
            (number, payload)
        )

    def send(self, number: int, payload: bytes) -> list[int]:
        """Send a message; the numbers of the answers."""
        self.answers.clear()
        self.tunnel.client.sendPacket(number, payload)
        self.tunnel.pump()
        return [number for number, _ in self.answers]

    def assert_ended(self, why: str) -> None:
        self.assertIn(why, self.tunnel.server_user.lost or "still open")
        self.assertEqual(self.tunnel.clock.getDelayedCalls(), [])

    def test_a_hundred_channels(self) -> None:
        """Every further channel is refused, of our type or another; the link goes on."""
        kinds = [CHANNEL_TYPE, b"session", b"direct-tcpip", b"auth-agent@openssh.com", b"x11"]
        for number in range(100):
            name = kinds[number % len(kinds)]
            opening = NS(name) + pack(">3L", number + 1, WINDOW, MAX_PACKET)
            self.assertEqual(self.send(CHANNEL_OPEN, opening), [OPEN_FAILURE])
        self.assertEqual(len(self.tunnel.server.service.channels), 1)
        self.tunnel.client.sendPacket(DATA, pack(">L", 0) + NS(encode(SIGNAL, b"still here")))
        self.tunnel.pump()
        self.assertEqual(self.tunnel.server_user.frames, [(SIGNAL, b"still here")])

    def test_global_requests(self) -> None:
        """No port is forwarded, whatever is asked."""
        for name in (b"tcpip-forward", b"streamlocal-forward@openssh.com", b"x", b"\xff"):
            payload = NS(name) + b"\1" + NS(b"0.0.0.0") + pack(">L", 8080)
            self.assertEqual(self.send(GLOBAL_REQUEST, payload), [REQUEST_FAILURE])

    def test_channel_requests(self) -> None:
        """The channel has no shell, command, subsystem, terminal or environment."""
        for name in (b"shell", b"exec", b"subsystem", b"pty-req", b"env", b"x11-req", b"\xff"):
            payload = pack(">L", 0) + NS(name) + b"\1" + NS(b"id")
            self.assertEqual(self.send(CHANNEL_REQUEST, payload), [CHANNEL_FAILURE])
            quiet = pack(">L", 0) + NS(name) + b"\0" + NS(b"id")
            self.assertEqual(self.send(CHANNEL_REQUEST, quiet), [])

    def test_beyond_the_window(self) -> None:
        """Data that the window does not allow ends the link."""
        self.tunnel.server_user.link.pauseProducing()
        frame = encode(2, b"x" * 65536)
        for _ in range(2 * WINDOW // len(frame)):
            self.send(DATA, pack(">L", 0) + NS(frame))
        self.assert_ended("more SSH channel data than the window allows")
        self.assertEqual(self.tunnel.server_user.frames, [])

    def test_larger_than_a_packet(self) -> None:
        """Data larger than the agreed packet ends the link."""
        self.send(DATA, pack(">L", 0) + NS(b"\0" * (MAX_PACKET + 1)))
        self.assert_ended("more SSH channel data than the window allows")

    def test_oversized_frame(self) -> None:
        """A frame that announces too much ends the link at its header."""
        self.send(DATA, pack(">L", 0) + NS(b"\2\xff\xff\xff"))
        self.assert_ended("frame announces 16777215 bytes")

    def test_extended_data(self) -> None:
        """There is no standard error."""
        self.send(EXTENDED_DATA, pack(">2L", 0, 1) + NS(b"oops"))
        self.assert_ended("extended data")

    def test_end_of_file(self) -> None:
        """A stream that ends, ends the link."""
        self.send(EOF, pack(">L", 0))
        self.assert_ended("end of the stream")

    def test_close_channel(self) -> None:
        """A channel that is closed ends the link."""
        self.send(CLOSE, pack(">L", 0))
        self.assert_ended("closed")

    def test_service_again(self) -> None:
        """A member cannot start over."""
        self.send(SERVICE_REQUEST, NS(b"ssh-userauth"))
        self.assert_ended("don't have service")

    def test_sign_in_again(self) -> None:
        """A sign-in after the sign-in changes nothing (RFC 4252 §5.1)."""
        self.send(signin.REQUEST, NS(b"user") + NS(signin.CONNECTION) + NS(b"none"))
        self.assertIsNone(self.tunnel.server_user.lost)
        self.assertEqual(self.tunnel.server.key, public(MEMBER_KEY))

    def test_stray_new_keys(self) -> None:
        """New keys without a key exchange end the link."""
        self.send(NEWKEYS, b"")
        self.assert_ended("SSH message 21 out of turn")

    def test_stray_exchange(self) -> None:
        """Nor is a key exchange served that was not begun, or of another method."""
        self.send(30, NS(b"\x09" + b"\0" * 31))
        self.assert_ended("SSH message 30 out of turn")

    def test_small_packets_wanted(self) -> None:
        """A peer that wants its data in crumbs gets no channel."""
        tunnel = Tunnel(is_member=lambda key: Deferred())
        tunnel.server.service._early.clear()  # forget the honest opening
        opening = NS(CHANNEL_TYPE) + pack(">3L", 0, WINDOW, 1)
        tunnel.client.sendPacket(CHANNEL_OPEN, opening)
        tunnel.pump()
        tunnel.server.service._welcome(public(MEMBER_KEY))
        tunnel.pump()
        self.assertEqual(tunnel.server_user.events, [])
        self.assertIn("only one channel", str(self.failureResultOf(tunnel.opening).value))

    def test_requests_without_reading(self) -> None:
        """Who asks without end and never reads the answers is cut off."""
        self.tunnel.at_server.stalled = True
        payload = NS(b"keepalive@openssh.com") + b"\1"
        while not self.tunnel.server.ended:
            self.tunnel.client.sendPacket(GLOBAL_REQUEST, payload)
            self.tunnel.client.sendPacket(CHANNEL_REQUEST, pack(">L", 0) + NS(b"x" * 100) + b"\1")
            self.tunnel.client.sendPacket(200, b"unknown")
            self.tunnel.pump()
        self.assertLess(len(self.tunnel.at_server.sent), 2 * MAX_BACKLOG)
        self.assert_ended("the other end does not read")

    @settings(max_examples=80, derandomize=True, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 120), st.binary(max_size=80)), max_size=5))
    def test_noise(self, messages: list[tuple[int, bytes]]) -> None:
        """Random messages from a member end its link at worst; nothing is raised or logged."""
        tunnel = Tunnel()
        tunnel.client.service.packetReceived = lambda number, payload: None
        for number, payload in messages:
            tunnel.client.sendPacket(number, payload)
            if tunnel.client.ended:
                break
        tunnel.pump()
        if tunnel.server_user.lost is None:
            self.assertEqual(tunnel.server.key, public(MEMBER_KEY))
            tunnel.server_user.link.close("done")
            tunnel.clock.advance(CLOSE_SECONDS)
            tunnel.pump()
        self.assertEqual(tunnel.server_user.events[-1], "lost")
