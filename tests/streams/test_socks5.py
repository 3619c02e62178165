"""Tests for :mod:`tunnelmesh.streams.socks5`, and for what lets its clients in."""

from __future__ import annotations

from ipaddress import IPv4Network

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.streams.loopback import LOOPBACK, LoopbackTestCase, Talk
from tests.wire.test_socks5 import GREETING, ask
from tunnelmesh.streams import entrance
from tunnelmesh.streams.proxies import Proxies
from tunnelmesh.wire.socks5 import Reply

PORT = 1080
METHOD = b"\x05\x00"


class Socks5TestCase(LoopbackTestCase):
    """A machine with the SOCKS5 server."""

    def setUp(self) -> None:
        """Start it."""
        super().setUp()
        network = IPv4Network("100.96.0.0/16")
        self.proxies = Proxies(self.machine, self.streams, network, (LOOPBACK, PORT), None)
        self.proxies.start()

    def say(self, words: bytes) -> Talk:
        """A client that says something."""
        client = self.connect(PORT)
        client.transport.write(words)
        return client

    def joined(self, host: str = "homelab.mesh", rest: bytes = b"") -> tuple[Talk, Talk]:
        """A client that has been connected, and the server at the other end."""
        before = len(self.server.made)
        client = self.say(GREETING + ask(host, 80) + rest)
        answer = METHOD + Reply.SUCCEEDED.encode()
        self.until(lambda: len(client.heard) >= len(answer) and len(self.server.made) > before)
        self.assertEqual(client.heard, answer)
        client.heard = b""
        return client, self.server.made[-1]


class ConnectTests(Socks5TestCase):
    """What goes through."""

    def test_connect(self) -> None:
        """By name and by address, bytes go both ways, and each way ends by itself."""
        for host in ("homelab", "homelab.mesh", "100.96.0.2", "fd74:6d6d:6573::2"):
            client, server = self.joined(host)
            self.assertEqual(self.streams.asked[-1], (host, 80))
            client.transport.write(b"question")
            client.transport.loseWriteConnection()
            self.until(lambda server=server: server.ended)
            self.assertEqual(server.heard, b"question")
            server.transport.write(b"answer")
            server.transport.loseConnection()
            self.until(lambda client=client, server=server: client.ended and server.lost)
            self.assertEqual(client.heard, b"answer")

    def test_impatient(self) -> None:
        """What the client says before it is answered is not lost."""
        _, server = self.joined(rest=b"early")
        self.until(lambda: server.heard == b"early")

    def test_server_speaks_first(self) -> None:
        """Nor is what the server says first."""
        client, server = self.joined()
        server.transport.write(b"SSH-2.0-x\r\n")
        self.until(lambda: client.heard == b"SSH-2.0-x\r\n")

    def test_aborted(self) -> None:
        """A connection that breaks off does not look finished at the other end."""
        client, server = self.joined()
        server.transport.abortConnection()
        self.until(lambda: client.lost)
        self.assertFalse(client.ended)

    def test_back_pressure(self) -> None:
        """A server that reads slowly holds the client back."""
        client, server = self.joined()
        server.transport.pauseProducing()
        client.transport.write(b"x" * 2_000_000)
        self.run_for(5)
        self.assertGreater(len(client.transport.dataBuffer), 1_000_000)
        server.transport.resumeProducing()
        self.until(lambda: len(server.heard) == 2_000_000, 60)

    def test_back_pressure_while_connecting(self) -> None:
        """Nothing is read from a client until there is somewhere to put it."""
        client = self.say(GREETING + ask("slow", 80))
        self.until(lambda: self.streams.asked)
        client.transport.write(b"x" * 2_000_000)
        self.run_for(2)
        self.assertGreater(len(client.transport.dataBuffer), 1_000_000)


class RefusalTests(Socks5TestCase):
    """What does not go through."""

    def answer_to(self, words: bytes) -> bytes:
        """What a client is told until it is sent away."""
        client = self.say(words)
        self.until(lambda: client.ended or client.lost, 5)
        if client.lost is None:
            client.transport.loseConnection()
        self.until(lambda: client.lost)
        return client.heard

    def test_replies(self) -> None:
        """Each kind of failure has its reply."""
        for host, port, reply in (
            ("example.org", 80, Reply.HOST_UNREACHABLE),
            ("192.0.2.1", 80, Reply.HOST_UNREACHABLE),
            ("robot.mesh", 80, Reply.HOST_UNREACHABLE),
            ("late.mesh", 80, Reply.TTL_EXPIRED),
            ("homelab.mesh", 9, Reply.REFUSED),
            ("homelab.mesh", 10, Reply.NOT_ALLOWED),
        ):
            heard = self.answer_to(GREETING + ask(host, port))
            self.assertEqual(heard, METHOD + reply.encode())

    def test_not_done(self) -> None:
        """BIND, and a client that insists on signing in, are told so."""
        bind = GREETING + ask("homelab", 80, command=2)
        self.assertEqual(self.answer_to(bind), METHOD + Reply.COMMAND_NOT_SUPPORTED.encode())
        self.assertEqual(self.answer_to(b"\x05\x01\x02"), b"\x05\xff")

    def test_nonsense(self) -> None:
        """What a browser can be made to send here, and other nonsense, is cut off at once."""
        for words in (b"POST / HTTP/1.1\r\n", b"\x16\x03\x01", b"\x04\x01", GREETING + b"GET"):
            client = self.say(words)
            self.until(lambda client=client: client.lost, 1)
            self.assertIn(client.heard, (b"", METHOD))

    @given(st.binary(max_size=300), st.sampled_from([b"", GREETING]))
    @settings(max_examples=50, derandomize=True, deadline=None)
    def test_hostile(self, words: bytes, first: bytes) -> None:
        """Whatever is said, the connection is over soon, and nothing is logged as an error."""
        client = self.say(first + words)
        self.until(lambda: client.ended or client.lost, entrance.PATIENCE + 1)

    def test_silent(self) -> None:
        """Who says nothing, or stops in the middle, is not waited for."""
        silent, halting = self.say(b""), self.say(GREETING + b"\x05\x01")
        self.run_for(entrance.PATIENCE - 1)
        self.assertFalse(silent.lost or halting.lost)
        self.run_for(2)
        self.assertTrue(silent.lost and halting.lost)

    def test_limit(self) -> None:
        """So many and no more; who has gone makes room, joined or not."""
        self.patch(entrance, "MAX_CLIENTS", 3)
        (first, server), (second, _), third = self.joined(), self.joined(), self.say(b"")
        refused = self.say(GREETING)
        self.until(lambda: refused.lost or refused.ended)
        self.assertEqual(refused.heard, b"")
        for leave in (first.transport.abortConnection, third.transport.loseConnection):
            leave()
            self.run_for(1)
            self.joined()
        self.assertIsNone(second.lost)
        self.assertIsNotNone(server.lost)

    def test_stop(self) -> None:
        """When the proxy stops, all its connections end, and nobody waits for a peer any more."""
        waiting, (client, server) = self.say(GREETING + ask("slow", 80)), self.joined()
        self.assertFalse(self.streams.never.given_up)
        self.successResultOf(self.proxies.stop())
        self.until(lambda: waiting.lost and client.lost and server.lost)
        self.assertTrue(self.streams.never.given_up)
        self.run_for(1)
        self.assertEqual(self.machine.getDelayedCalls(), [])
