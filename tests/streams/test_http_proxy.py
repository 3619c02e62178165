"""Tests for :mod:`tunnelmesh.streams.http_proxy` and :mod:`~tunnelmesh.streams.exchange`."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.streams.loopback import LOOPBACK, LoopbackTestCase, Talk
from tunnelmesh.streams import entrance
from tunnelmesh.streams.http_proxy import ESTABLISHED
from tunnelmesh.streams.proxies import Proxies
from tunnelmesh.wire.http import MAX_HEAD

PORT = 3128
GET = b"GET http://homelab.mesh/page?a=b HTTP/1.1\r\nHost: homelab.mesh\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class ProxyTestCase(LoopbackTestCase):
    """A machine with the proxy."""

    def setUp(self) -> None:
        """Start it."""
        super().setUp()
        networks = IPv4Network("100.96.0.0/16"), IPv6Network("fd74:6d01:203::/48")
        self.proxies = Proxies(self.machine, self.streams, networks, None, (LOOPBACK, PORT))
        self.proxies.start()

    def ask(self, words: bytes) -> Talk:
        """A client that says something."""
        client = self.connect(PORT)
        client.transport.write(words)
        return client

    def served(self, words: bytes) -> tuple[Talk, Talk]:
        """A client that says something, and the server that gets to hear of it."""
        before = len(self.server.made)
        client = self.ask(words)
        self.until(lambda: len(self.server.made) > before and self.server.made[-1].heard)
        return client, self.server.made[-1]

    def answer_to(self, words: bytes) -> bytes:
        """What a client is told until the proxy says no more."""
        client = self.ask(words)
        self.until(lambda: client.ended or client.lost)
        if client.lost is None:
            client.transport.loseConnection()
        self.until(lambda: client.lost)
        return client.heard


class PlainTests(ProxyTestCase):
    """Requests of plain HTTP."""

    def test_request(self) -> None:
        """The server gets what concerns it, and the client its answer; then both are closed."""
        client, server = self.served(
            b"GET http://homelab.mesh:80/page?a=b HTTP/1.1\r\nHost: other\r\n"
            b"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n"
            b"Cookie: c=d\r\n\r\n"
        )
        self.assertEqual(
            server.heard,
            b"GET /page?a=b HTTP/1.1\r\nHost: homelab.mesh:80\r\nCookie: c=d\r\n"
            b"Via: 1.1 tunnelmesh\r\nConnection: close\r\n\r\n",
        )
        server.transport.write(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nETag: x\r\n\r\nhel")
        server.transport.write(b"lo")
        server.transport.loseConnection()
        self.until(lambda: client.ended)
        self.assertEqual(
            client.heard,
            b"HTTP/1.1 200 OK\r\nETag: x\r\nVia: 1.1 tunnelmesh\r\nConnection: close\r\n\r\nhello",
        )
        self.until(lambda: server.lost)

    def test_body(self) -> None:
        """A body goes to the server as it comes, and nothing after it does."""
        head = b"POST http://homelab/ HTTP/1.1\r\nContent-Length: 10\r\n\r\n"
        client, server = self.served(head + b"01234")
        self.until(lambda: server.heard.endswith(b"\r\n\r\n01234"))
        client.transport.write(b"56789" + GET)
        self.until(lambda: server.heard.endswith(b"\r\n\r\n0123456789"))
        self.run_for(1)
        self.assertTrue(server.heard.endswith(b"\r\n\r\n0123456789"))
        server.transport.write(OK)
        self.until(lambda: client.heard.endswith(b"hello"))

    def test_chunks(self) -> None:
        """A body in chunks stays in its chunks."""
        chunks = b"5\r\nhello\r\n0\r\n\r\n"
        head = b"PUT http://homelab/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        _, server = self.served(head + chunks + GET)
        self.until(lambda: server.heard.endswith(chunks))
        self.run_for(1)
        self.assertTrue(server.heard.endswith(chunks))
        self.assertIn(b"Transfer-Encoding: chunked\r\n", server.heard)

    def test_malformed_chunks(self) -> None:
        """A body that makes no sense ends the request."""
        head = b"PUT http://homelab/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        client, server = self.served(head)
        client.transport.write(b"nonsense\r\n")
        self.until(lambda: client.ended and server.lost)
        self.assertTrue(client.heard.startswith(b"HTTP/1.1 400 Bad Request\r\n"))
        client, server = self.served(head)
        server.transport.write(OK)
        self.until(lambda: client.heard.endswith(b"hello"))
        client.transport.write(b"nonsense\r\n")
        self.until(lambda: client.lost and server.lost)
        self.assertTrue(client.heard.endswith(b"hello"))

    def test_interim(self) -> None:
        """Interim answers are passed on, but not to a client that does not know them."""
        for version, heard in ((b"1", b"HTTP/1.1 100 Continue\r\n\r\n"), (b"0", b"")):
            client, server = self.served(b"GET http://homelab/ HTTP/1.%b\r\n\r\n" % version)
            server.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.run_for(1)
            self.assertEqual(client.heard, heard)
            server.transport.write(OK)
            self.until(lambda client=client: client.heard.endswith(b"hello"))

    def test_back_pressure(self) -> None:
        """Who reads slowly is not written to without bound, in both directions."""
        huge = b"x" * 2_000_000
        head = b"POST http://homelab/ HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(huge)
        client, server = self.served(head)
        for reader, writer, first in ((server, client, b""), (client, server, OK[:-5])):
            before = len(reader.heard)
            reader.transport.pauseProducing()
            writer.transport.write(first + huge)
            self.run_for(5)
            # What the writer still has did not fit into what lies between.
            self.assertGreater(len(writer.transport.dataBuffer), 1_000_000)
            reader.transport.resumeProducing()
            self.until(lambda b=before, r=reader: len(r.heard) >= b + len(huge), 60)

    def test_server_breaks_off(self) -> None:
        """An answer that is cut off does not look whole; one that never came is told of."""
        client, server = self.served(GET)
        server.transport.write(b"HTTP/1.1 200 OK\r\n\r\nhel")
        self.until(lambda: client.heard.endswith(b"hel"))
        server.transport.abortConnection()
        self.until(lambda: client.lost)
        self.assertFalse(client.ended)
        client, server = self.served(GET)
        server.transport.write(b"HTTP/1.1 200 OK\r\n")
        server.transport.loseConnection()
        self.until(lambda: client.ended)
        self.assertTrue(client.heard.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"))
        self.assertIn(b"without an answer", client.heard)

    def test_odd_answers(self) -> None:
        """What is no HTTP, or more than a head may be, is not passed on."""
        for answer in (
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: " + b"x" * MAX_HEAD,
        ):
            client, server = self.served(GET)
            server.transport.write(answer)
            self.until(lambda client=client, server=server: client.ended and server.lost)
            self.assertTrue(client.heard.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"))

    def test_client_goes(self) -> None:
        """A server need not go on for a client that has gone."""
        client, server = self.served(GET)
        client.transport.loseConnection()
        self.until(lambda: server.lost)

    def test_early_end(self) -> None:
        """A server may answer, and close, before it has read the request."""
        head = b"POST http://homelab/ HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"
        client, server = self.served(head)
        server.transport.write(OK)
        server.transport.loseConnection()
        self.until(lambda: client.ended)
        self.assertTrue(client.heard.endswith(b"hello"))


class TunnelTests(ProxyTestCase):
    """CONNECT."""

    def test_connect(self) -> None:
        """Bytes go both ways, and each way ends by itself."""
        client = self.ask(b"CONNECT homelab.mesh:80 HTTP/1.1\r\nHost: homelab.mesh:80\r\n\r\nearly")
        self.until(lambda: self.server.made and self.server.made[0].heard == b"early")
        [server] = self.server.made
        self.until(lambda: client.heard)
        self.assertEqual(client.heard, ESTABLISHED)
        client.transport.loseWriteConnection()
        self.until(lambda: server.ended)
        server.transport.write(b"late")
        server.transport.loseConnection()
        self.until(lambda: client.ended and server.lost)
        self.assertEqual(client.heard, ESTABLISHED + b"late")

    def test_nowhere(self) -> None:
        """Hosts that are none of the mesh are refused, saying why."""
        answer = self.answer_to(b"CONNECT example.org:443 HTTP/1.1\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 403 Forbidden\r\n"))
        self.assertIn(b"leads only into the mesh", answer)


class RefusalTests(ProxyTestCase):
    """What does not go through."""

    def test_nowhere(self) -> None:
        """Hosts that are none of the mesh, away or closed are refused, saying why."""
        for host, status, words in (
            (b"example.org", b"403", b"no peer 'example.org' in the mesh"),
            (b"192.0.2.1", b"403", b"leads only into the mesh"),
            (b"robot.mesh", b"504", b"offline for 3 minutes"),
            (b"late.mesh", b"504", b"does not answer"),
            (b"homelab.mesh:9", b"502", b"nobody listens on port 9"),
            (b"homelab.mesh:10", b"403", b"access rules"),
        ):
            answer = self.answer_to(b"GET http://%b/ HTTP/1.1\r\n\r\n" % host)
            self.assertEqual(answer.split()[1], status)
            self.assertIn(words, answer)

    def test_malformed(self) -> None:
        """Requests that two programs could read in two ways are refused."""
        for words in (
            b"GET http://homelab/ HTTP/1.1\r\nA : b\r\n\r\n",
            b"GET http://user:pass@homelab/ HTTP/1.1\r\n\r\n",
            b"GET ftp://homelab/ HTTP/1.1\r\n\r\n",
            b"POST http://homelab/ HTTP/1.1\r\nContent-Length: 1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
            b"CONNECT homelab HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: " + b"x" * MAX_HEAD,
        ):
            self.assertTrue(self.answer_to(words).startswith(b"HTTP/1.1 400 Bad Request\r\n"))
        self.assertEqual(self.streams.asked, [])

    def test_not_a_web_server(self) -> None:
        """What a web page can make a browser ask gets 404, and a second request in it nothing."""
        answer = self.answer_to(b"POST / HTTP/1.1\r\nHost: localhost:3128\r\n\r\n" + GET)
        self.assertTrue(answer.startswith(b"HTTP/1.1 404 Not Found\r\n"))
        self.assertEqual(answer.count(b"HTTP/1.1"), 1)
        self.assertEqual(self.streams.asked, [])

    def test_not_http(self) -> None:
        """Who speaks another protocol is cut off at its first byte."""
        for words in (b"\x05\x01\x00", b"\x16\x03\x01", b"\r\n"):
            client = self.ask(words)
            self.until(lambda client=client: client.lost, 1)
            self.assertEqual(client.heard, b"")

    @given(st.binary(max_size=300))
    @settings(max_examples=50, derandomize=True, deadline=None)
    def test_hostile(self, words: bytes) -> None:
        """Whatever is said, the connection is over soon, and nothing is logged as an error."""
        client = self.ask(words)
        self.until(lambda: client.ended or client.lost, 60)
        if not client.lost:
            client.transport.loseConnection()
        self.until(lambda: client.lost)

    def test_silent(self) -> None:
        """Who says nothing, or little by little, is not waited for; nor is who does not go."""
        silent, slow = self.ask(b""), self.ask(b"GET")
        for _ in range(int(entrance.PATIENCE) - 1):
            self.run_for(1)
            slow.transport.write(b"x")
        self.assertFalse(silent.lost or slow.lost)
        self.run_for(2)
        self.assertTrue(silent.lost and slow.lost)
        for target in (b"/", b"http://example.org/"):
            lingering = self.ask(b"GET %b HTTP/1.1\r\n\r\n" % target)
            self.until(lambda lingering=lingering: lingering.ended)
            self.run_for(entrance.PATIENCE + 1)
            self.assertTrue(lingering.lost)
        self.answer_to(b"GET / HTTP/1.1\r\n\r\n")
        self.run_for(1)
        self.assertEqual(self.machine.getDelayedCalls(), [])

    def test_client_goes_while_connecting(self) -> None:
        """When the proxy stops, nobody waits for a peer any more."""
        self.ask(b"GET http://slow/ HTTP/1.1\r\n\r\n")
        self.until(lambda: self.streams.asked)
        self.assertFalse(self.streams.never.given_up)
        self.proxies.stop()
        self.run_for(1)
        self.assertTrue(self.streams.never.given_up)
        self.assertEqual(self.machine.getDelayedCalls(), [])


class PacTests(ProxyTestCase):
    """What tells a browser to use the proxy."""

    def test_pac(self) -> None:
        """It names the proxy as the browser has reached it, and the mesh."""
        answer = self.answer_to(b"GET /proxy.pac HTTP/1.1\r\nHost: localhost:3128\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"))
        for part in (
            b"Content-Type: application/x-ns-proxy-autoconfig\r\n",
            b'"PROXY 127.0.0.1:3128"',
            b'isInNet(host, "100.96.0.0", "255.255.0.0")',
            b'"fd74:6d01:0203:"',
            b'"DIRECT"',
        ):
            self.assertIn(part, answer)

    def test_not_for_strangers(self) -> None:
        """A page whose name has come to lead to this machine does not get it."""
        for host in (b"Host: evil.example\r\n", b"", b"Host: localhost.evil.example:3128\r\n"):
            answer = self.answer_to(b"GET /proxy.pac HTTP/1.1\r\n%b\r\n" % host)
            self.assertTrue(answer.startswith(b"HTTP/1.1 404 Not Found\r\n"))
