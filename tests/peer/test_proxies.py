"""The proxies of a real peer, between two machines without network devices."""

from __future__ import annotations

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory

from tests.peer.world import WorldTestCase
from tests.streams.loopback import LOOPBACK, Listening, Talk
from tests.wire.test_socks5 import GREETING, ask
from tunnelmesh import fatal
from tunnelmesh.wire.socks5 import Reply

METHOD = b"\x05\x00"


class ProxyTests(WorldTestCase):
    """A program on one machine, a server on the other."""

    def setUp(self) -> None:
        """Both machines are there."""
        super().setUp()
        self.laptop = self.add("laptop", mode="userspace", socks=(LOOPBACK, 1080))
        exposed = ((8080, LOOPBACK, 80), (9, LOOPBACK, 9))
        self.homelab = self.add("homelab", mode="userspace", expose=exposed)
        self.server = Listening()
        self.homelab.host.listenTCP(80, self.server, interface=LOOPBACK)
        self.until(lambda: self.laptop.path_to("homelab") == "udp")

    def say(self, words: bytes) -> Talk:
        """A program that says something to the proxy."""
        talk = Talk()
        endpoint = TCP4ClientEndpoint(self.laptop.host, LOOPBACK, 1080)
        endpoint.connect(Factory.forProtocol(lambda: talk)).addCallback(
            lambda _: talk.transport.write(words)
        )
        return talk

    def test_stream(self) -> None:
        """A stream goes through, and says by what."""
        self.assertEqual(self.laptop.status()["listen"], {"socks": "127.0.0.1:1080"})
        client = self.say(GREETING + ask("homelab.mesh", 8080) + b"question")
        self.until(lambda: self.server.made and self.server.made[0].heard == b"question")
        [server] = self.server.made
        client.transport.loseWriteConnection()
        self.until(lambda: server.ended)
        server.transport.write(b"answer" * 100_000)
        server.transport.loseConnection()
        self.until(lambda: client.ended)
        answer = METHOD + Reply.SUCCEEDED.encode()
        self.assertEqual(client.heard, answer + b"answer" * 100_000)

    def test_says_nothing(self) -> None:
        """A service that closes at once is seen to have done so."""
        client = self.say(GREETING + ask("homelab", 8080))
        self.until(lambda: self.server.made)
        self.server.made[0].transport.loseConnection()
        self.until(lambda: client.ended or client.lost)
        self.assertEqual(client.heard, METHOD + Reply.SUCCEEDED.encode())

    def test_refused(self) -> None:
        """What the other side says becomes the reply, within three seconds."""
        for host, port, reply in (
            ("homelab", 9, Reply.REFUSED),
            ("homelab", 22, Reply.REFUSED),
            ("printer", 80, Reply.HOST_UNREACHABLE),
        ):
            client = self.say(GREETING + ask(host, port))
            self.until(lambda client=client: client.ended or client.lost, 3.1)
            self.assertEqual(client.heard, METHOD + reply.encode())

    def test_offline(self) -> None:
        """A peer that has just gone does not answer in time; later it is known to be away."""
        self.homelab.kill()
        for reply in (Reply.TTL_EXPIRED, Reply.HOST_UNREACHABLE):
            client = self.say(GREETING + ask("homelab", 8080))
            self.until(lambda client=client: client.ended or client.lost, 3.1)
            self.assertEqual(client.heard, METHOD + reply.encode())
            self.until(lambda: not self.laptop.status()["peers"][0]["online"], 120)

    def test_port_taken(self) -> None:
        """A port that is taken ends the start."""
        self.laptop.kill()
        errors: list[Exception] = []
        self.patch(fatal, "fail", lambda reactor, error: errors.append(error))
        self.laptop.host.listenTCP(1080, Listening(), interface=LOOPBACK)
        self.laptop.start()
        self.until(lambda: errors)
        self.assertIn("--socks", str(errors[0]))
