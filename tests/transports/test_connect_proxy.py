"""CONNECT, against proxies of all manners in memory."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.transports.links import Wire
from tunnelmesh.errors import ProxyError
from tunnelmesh.transports.connect_proxy import (
    ANSWER_SECONDS,
    ATTEMPTS,
    MAX_HEADER,
    ProxyConnectEndpoint,
    parse_answer,
)
from tunnelmesh.transports.proxy_settings import Proxy

OK = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"
DIGEST = 'Digest realm="r", qop="auth", algorithm=SHA-256, nonce="%s"'


class Inside(Protocol):
    """What the connection is for."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: BaseException | None = None

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep why."""
        self.lost = reason.value


@implementer(IStreamClientEndpoint)
class ToProxy:
    """TCP connections to a proxy, in memory."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.wires: list[Wire] = []
        self.outcome: Deferred[Protocol] | None = None

    def connect(self, factory: Factory) -> Deferred[Protocol]:
        """Connect, unless told otherwise."""
        if self.outcome is not None:
            return self.outcome
        wire = Wire(self.clock)
        wire.protocol = factory.buildProtocol(None)
        wire.protocol.makeConnection(wire)
        self.wires.append(wire)
        return succeed(wire.protocol)


def demand(challenge: str) -> bytes:
    """A proxy's demand for a password, with a page for people."""
    return (
        "HTTP/1.1 407 Proxy Authentication Required\r\n"
        f"proxy-authenticate: {challenge}\r\nContent-Length: 5\r\n\r\nsorry"
    ).encode()


class ConnectTests(SynchronousTestCase):
    """One way in for each manner of a proxy."""

    def setUp(self) -> None:
        """A way through a proxy that wants no password."""
        self.use(Proxy("proxy.example", 3128))

    def use(self, proxy: Proxy, host: str = "vps.example", port: int = 8443) -> None:
        """A way through another proxy."""
        self.clock = Clock()
        self.tcp = ToProxy(self.clock)
        self.endpoint = ProxyConnectEndpoint(
            self.clock, self.tcp, proxy, host, port, lambda count: bytes(count)
        )
        self.inside = Inside()

    def connect(self) -> Deferred[Protocol]:
        """Begin to connect."""
        self.inside = Inside()
        return connectProtocol(self.endpoint, self.inside)

    def answer(self, data: bytes) -> None:
        """The proxy's answer on the last connection."""
        self.tcp.wires[-1].protocol.dataReceived(data)
        self.clock.advance(0)

    def asked(self) -> bytes:
        """What was asked on the last connection."""
        return self.tcp.wires[-1].value()

    def refused(self, connecting: Deferred[Protocol], *parts: str) -> None:
        """It failed with such a message, and left nothing open and no timer."""
        problem = self.failureResultOf(connecting, ProxyError)
        for part in ("proxy.example:3128", *parts):
            self.assertIn(part, str(problem.value))
        self.assertTrue(str(problem.value).isprintable())
        self.assertEqual([w for w in self.tcp.wires if w.connected], [])
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_interface(self) -> None:
        """It is an endpoint."""
        verifyObject(IStreamClientEndpoint, self.endpoint)

    def test_open(self) -> None:
        """Once the proxy agrees, the connection is the protocol's, at any cut of the answer."""
        for cut in range(1, len(OK)):
            connecting = self.connect()
            self.answer(OK[:cut])
            self.assertNoResult(connecting)
            self.answer(OK[cut:])
            self.assertIs(self.successResultOf(connecting), self.inside)
        self.answer(b"hello")
        self.assertEqual(self.inside.received, b"hello")
        self.tcp.wires[-1].clear()
        self.inside.transport.write(b"and you")
        self.assertEqual(self.asked(), b"and you")
        self.inside.transport.loseConnection()
        self.clock.advance(0)
        self.assertIsInstance(self.inside.lost, ConnectionDone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_early_bytes(self) -> None:
        """What comes with the answer, as a server's greeting, is the protocol's."""
        connecting = self.connect()
        self.answer(OK + b"SSH-2.0-x\r\n")
        self.successResultOf(connecting)
        self.assertEqual(self.inside.received, b"SSH-2.0-x\r\n")

    def test_request(self) -> None:
        """The request names the target, brackets around an IPv6 address; no password unasked."""
        for host, text in (("vps.example", b"vps.example"), ("2001:db8::1", b"[2001:db8::1]")):
            self.use(Proxy("proxy.example", 3128, "me", "secret"), host, 2222)
            self.connect()
            self.assertEqual(
                self.asked(),
                b"CONNECT %b:2222 HTTP/1.1\r\nHost: %b:2222\r\n\r\n" % (text, text),
            )

    def test_refusals(self) -> None:
        """A refusal is reported with the proxy's words and what they mean."""
        for status, advice in (
            (b"403 Forbidden", "ask for it to be allowed"),
            (b"405 Method Not Allowed", "no CONNECT"),
            (b"504 Gateway\tTimeout", "cannot reach"),
            (b"302", "302"),
            (b"100 Continue", "100"),
        ):
            connecting = self.connect()
            self.answer(b"HTTP/1.0 " + status + b"\r\n\r\n<html>")
            self.refused(connecting, "vps.example:8443", advice)

    def test_nonsense(self) -> None:
        """What is not HTTP is noticed at once, what has no end before it is large."""
        for data in (
            b"SSH-2.0-OpenSSH\r\n",
            b"\x15\x03\x03",
            b"HTTP/2",
            b"HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEADER,
        ):
            connecting = self.connect()
            self.answer(data)
            self.refused(connecting, "does not answer as an HTTP proxy")

    def test_silence(self) -> None:
        """A proxy that hangs is given up, whether it has begun to answer or not."""
        for data in (b"", b"HTTP/1.1 200 OK\r\n"):
            connecting = self.connect()
            self.answer(data)
            self.clock.advance(ANSWER_SECONDS)
            self.clock.advance(0)
            self.refused(connecting, "did not answer within 6 s")

    def test_closes(self) -> None:
        """A proxy that closes without an answer is said to have."""
        connecting = self.connect()
        self.tcp.wires[-1].loseConnection()
        self.clock.advance(0)
        self.refused(connecting, "gives no answer: the other end closed the connection")

    def test_unreachable(self) -> None:
        """So is one that cannot be reached."""
        self.tcp.outcome = fail(ConnectionRefusedError())
        self.refused(self.connect(), "cannot be reached: connection refused")

    def test_cancelled(self) -> None:
        """Giving up closes the connection."""
        connecting = self.connect()
        connecting.cancel()
        self.failureResultOf(connecting)
        self.clock.advance(0)
        self.assertFalse(self.tcp.wires[-1].connected)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_password_missing(self) -> None:
        """A proxy that wants a password where we have none: say where to put it."""
        connecting = self.connect()
        self.answer(demand('Basic realm="x"'))
        self.refused(connecting, "wants a user name and a password", "--proxy=http://user:")

    def test_basic(self) -> None:
        """A password is given on a second connection, and from then on at once."""
        self.use(Proxy("proxy.example", 3128, "me", "secret"))
        for connections in (2, 3):
            connecting = self.connect()
            if connections == 2:
                self.answer(demand('Basic realm="x"'))
            self.assertEqual(len(self.tcp.wires), connections)
            self.assertIn(b"\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n", self.asked())
            self.answer(OK)
            self.successResultOf(connecting)

    def test_wrong_password(self) -> None:
        """A password that is not taken is not sent again and again."""
        for challenge in ('Basic realm="x"', DIGEST % "n"):
            self.use(Proxy("proxy.example", 3128, "me", "wrong"))
            connecting = self.connect()
            self.answer(demand(challenge))
            self.answer(demand(challenge))
            self.refused(connecting, "does not accept the user name or the password")
            self.assertEqual(len(self.tcp.wires), 2)

    def test_unauthorized(self) -> None:
        """A proxy that says 401 to a wrong password is understood, and only then."""
        self.use(Proxy("proxy.example", 3128, "me", "wrong"))
        connecting = self.connect()
        self.answer(demand('Basic realm="x"'))
        self.answer(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
        self.refused(connecting, "does not accept the user name or the password")
        self.setUp()
        connecting = self.connect()
        self.answer(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
        self.refused(connecting, "refuses", "401 Unauthorized")

    def test_digest(self) -> None:
        """A nonce serves several connections, counted, until it is stale."""
        self.use(Proxy("proxy.example", 3128, "me", "secret"))
        seen = []
        connecting = self.connect()
        self.answer(demand(DIGEST % "n1"))
        for challenge in ("", "", DIGEST % "n2" + ", stale=true", ""):
            seen.append(re.findall(rb'nonce="(n\d)".*uri="(.*?)".*nc=(\d+)', self.asked())[0])
            self.answer(demand(challenge) if challenge else OK)
            if not challenge:
                self.successResultOf(connecting)
                connecting = self.connect()
        uri = b"vps.example:8443"
        self.assertEqual(
            seen,
            [
                (b"n1", uri, b"00000001"),
                (b"n1", uri, b"00000002"),
                (b"n1", uri, b"00000003"),
                (b"n2", uri, b"00000001"),
            ],
        )

    def test_forgotten_nonce(self) -> None:
        """A proxy that was restarted and does not say "stale" is no reason to give up."""
        self.use(Proxy("proxy.example", 3128, "me", "secret"))
        for nonce in ("n1", "n2"):
            connecting = self.connect()
            self.answer(demand(DIGEST % nonce))
            self.answer(OK)
            self.successResultOf(connecting)

    def test_always_stale(self) -> None:
        """A proxy for which every nonce is stale does not keep us for ever."""
        self.use(Proxy("proxy.example", 3128, "me", "secret"))
        connecting = self.connect()
        for number in range(ATTEMPTS):
            self.answer(demand(DIGEST % number + ", stale=true"))
        self.refused(connecting, "again and again")

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(
        st.lists(st.binary(max_size=50), max_size=4),
        st.sampled_from([b"", b"HTTP/1.1 407 x\r\nProxy-Authenticate: ", b"HTTP/1.1 200 x\r\n"]),
    )
    def test_any_answer(self, data: list[bytes], start: bytes) -> None:
        """Any answer opens the connection, fails, or is waited for no longer than allowed."""
        self.use(Proxy("proxy.example", 3128, "me", "secret"))
        connecting = self.connect()
        for each in (start, *data, b"\r\n\r\n"):
            self.answer(each)
        for _ in range(ATTEMPTS):
            self.clock.advance(ANSWER_SECONDS)
        result: list[object] = []
        connecting.addBoth(result.append)
        (outcome,) = result
        if isinstance(outcome, Failure):
            self.assertIsInstance(outcome.value, ProxyError)
        else:
            self.assertIs(outcome, self.inside)


class AnswerTests(SynchronousTestCase):
    """Reading an answer's head."""

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.binary() | st.binary().map(lambda tail: b"HTTP/1.1 " + tail))
    def test_any_bytes(self, head: bytes) -> None:
        """Any bytes have a status or are an error."""
        try:
            status, _, _ = parse_answer(head)
        except ProxyError:
            return
        self.assertIn(status, range(1000))
