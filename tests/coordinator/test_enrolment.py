"""Enrolling over HTTP, against the whole site."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from tunnelmesh.coordinator.enrolment import FAILURES, EnrolResource
from tunnelmesh.coordinator.site import make_site
from tunnelmesh.coordinator.sqlite import SQLiteStore
from tunnelmesh.coordinator.store import Member
from tunnelmesh.errors import StoreError
from tunnelmesh.identity import Identity, mesh_address6, mesh_network6
from tunnelmesh.wire import schema
from tunnelmesh.wire.enrol import MAX_BODY, PATH, Enrol, Enrolled, NotEnrolled, enrol_text

NOW = 1_800_000_000
SECRET = b"s" * 16
POOL = IPv4Network("100.96.0.0/16")
COORDINATOR = Identity.generate()
MACHINE = Identity.generate()


class FailingStore(SQLiteStore):
    """A store whose disk has failed."""

    async def enrol(self, secret: bytes, name: str, key: bytes, now: int) -> Member:
        raise StoreError("the disk is full")


class SlowStore(SQLiteStore):
    """A store that answers when told to."""

    gate: Deferred[None]

    async def enrol(self, secret: bytes, name: str, key: bytes, now: int) -> Member:
        await self.gate
        return await super().enrol(secret, name, key, now)


class SiteTestCase(SynchronousTestCase):
    """The site, reached by bytes in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.time = float(NOW)
        self.enrolled: list[Member] = []
        self.use(SQLiteStore)

    def use(self, kind: type[SQLiteStore]) -> None:
        """Build the site on a store of that kind, with an invitation for a hundred."""
        store = kind(Path(self.mktemp()), POOL)
        self.addCleanup(store.close)
        self.store = store
        self.run_now(store.invite(SECRET, 100, NOW + 60, NOW))
        enrol = EnrolResource(
            self.clock, COORDINATOR, store, POOL, self.enrolled.append, lambda: self.time
        )
        self.site = make_site(self.clock, enrol, Resource(), Resource())

    def run_now(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What a coroutine that waits for nothing returns."""
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def connect(self, client: str = "192.0.2.1") -> tuple[Any, StringTransport]:
        """A connection to the site."""
        cls = IPv6Address if ":" in client else IPv4Address
        transport = StringTransport(peerAddress=cls("TCP", client, 4711))
        protocol = self.site.buildProtocol(transport.getPeer())
        protocol.makeConnection(transport)
        return protocol, transport

    def request(
        self, method: str, path: str, body: bytes = b"", client: str = "192.0.2.1"
    ) -> tuple[int, bytes]:
        """Status and body of the answer to one request."""
        protocol, transport = self.connect(client)
        protocol.dataReceived(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        protocol.dataReceived(body)
        head, _, answer = transport.value().partition(b"\r\n\r\n")
        return int(head.split()[1]), answer

    def post(self, body: bytes, client: str = "192.0.2.1") -> tuple[int, Enrolled | NotEnrolled]:
        """Status of, and what is in, the answer to an enrolment."""
        status, answer = self.request("POST", PATH, body, client)
        return status, schema.load(Enrolled if status == 200 else NotEnrolled, json.loads(answer))

    def refused(self, body: bytes, client: str = "192.0.2.1") -> tuple[int, str]:
        """Status and code of a refusal, whose message must be a line for people."""
        status, answer = self.post(body, client)
        assert isinstance(answer, NotEnrolled)
        self.assertGreater(len(answer.message), 10)
        self.assertNotIn("\n", answer.message)
        return status, answer.error


def ask(
    name: str = "laptop",
    secret: bytes = SECRET,
    machine: Identity = MACHINE,
    key: bytes = MACHINE.public_key,
) -> bytes:
    """The body of a signed request."""
    signature = machine.sign(enrol_text(COORDINATOR.public_key, secret, name))
    return json.dumps(schema.dump(Enrol(secret, name, key, signature))).encode()


class EnrolTests(SiteTestCase):
    """Who is let in over HTTP."""

    def test_let_in(self) -> None:
        """A machine with an invitation gets its addresses, and the coordinator hears of it."""
        status, answer = self.post(ask())
        self.assertEqual(status, 200)
        assert isinstance(answer, Enrolled)
        self.assertEqual(
            (answer.name, str(answer.address), answer.prefix), ("laptop", "100.96.0.1", 16)
        )
        network6 = mesh_network6(COORDINATOR.public_key)
        self.assertEqual(answer.address6, str(mesh_address6(network6, MACHINE.public_key)))
        self.assertEqual(answer.coordinator_key, COORDINATOR.public_key)
        self.assertEqual([member.name for member in self.enrolled], ["laptop"])

    def test_asking_again(self) -> None:
        """The same question has the same answer."""
        self.assertEqual(self.post(ask()), self.post(ask()))

    def test_refusals(self) -> None:
        """Each reason has its code and its HTTP status."""
        other = Identity.generate()
        self.post(ask())
        self.assertEqual(self.refused(ask(secret=b"x" * 16)), (403, "unknown-token"))
        self.assertEqual(self.refused(ask(name="UPPER")), (400, "name"))
        self.assertEqual(self.refused(ask(name="a.b")), (400, "name"))
        self.assertEqual(
            self.refused(ask(machine=other, key=other.public_key)), (409, "name-taken")
        )
        self.assertEqual(self.refused(ask(name="b")), (409, "key-taken"))
        self.time = NOW + 60
        self.assertEqual(self.refused(ask(machine=other, key=other.public_key)), (403, "expired"))
        self.assertEqual(len(self.enrolled), 1)

    def test_signature(self) -> None:
        """Nobody enrols somebody else's key, or under another name than was signed."""
        self.assertEqual(self.refused(ask(name="b").replace(b'"b"', b'"c"')), (403, "signature"))
        other = Identity.generate()
        self.assertEqual(self.refused(ask(key=other.public_key)), (403, "signature"))
        self.assertEqual(self.refused(ask(key=bytes(32))), (400, "malformed"))

    def test_malformed(self) -> None:
        """Broken JSON and wrong types are refused, and say what is wrong."""
        bodies = [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 4000, ask()[:-1]]
        for key in ("secret", "name", "key"):
            bodies += [
                json.dumps(json.loads(ask()) | {key: wrong}).encode() for wrong in (None, 3, [])
            ]
        for number, body in enumerate(bodies):
            self.assertEqual(self.refused(body, f"192.0.2.{number}"), (400, "malformed"), body)

    @settings(max_examples=50, derandomize=True)
    @given(st.binary(max_size=200))
    def test_hostile(self, body: bytes) -> None:
        """Any bytes at all are refused in order, until the visitor is told to slow down."""
        self.assertIn(self.refused(body)[1], ("malformed", "slow-down"))

    def test_slow_down(self) -> None:
        """Who fails too often waits, a neighbour does not, and then it goes on."""
        for _ in range(FAILURES):
            self.refused(b"guess")
        self.assertEqual(self.refused(ask()), (429, "slow-down"))
        self.assertEqual(self.post(ask(), "192.0.2.2")[0], 200)
        self.clock.advance(60)
        self.assertEqual(self.post(ask())[0], 200)

    def test_one_ipv6_site(self) -> None:
        """Changing the address inside one's own IPv6 network does not help."""
        for number in range(FAILURES):
            self.refused(b"guess", f"2001:db8::{number + 1}")
        self.assertEqual(self.refused(ask(), "2001:db8::ffff")[0], 429)
        self.assertEqual(self.post(ask(), "2001:db8:0:1::1")[0], 200)

    def test_store_fails(self) -> None:
        """A failing database is told as such, in one line and not as a traceback."""
        self.use(FailingStore)
        self.assertEqual(self.refused(ask()), (503, "unavailable"))

    def test_gone_before_the_answer(self) -> None:
        """A machine that hangs up is a member all the same, and nothing goes wrong."""
        self.use(SlowStore)
        gate: Deferred[None] = Deferred()
        self.store.gate = gate  # type: ignore[attr-defined]
        protocol, transport = self.connect()
        body = ask()
        protocol.dataReceived(
            b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
            % (PATH.encode(), len(body), body)
        )
        protocol.connectionLost(connectionDone)
        gate.callback(None)
        self.assertEqual([member.name for member in self.enrolled], ["laptop"])
        self.assertEqual(transport.value(), b"")


class SiteTests(SiteTestCase):
    """The rest of the site."""

    def test_health(self) -> None:
        """A monitor reads that all is well."""
        status, body = self.request("GET", "/healthz")
        self.assertEqual((status, json.loads(body)), (200, {"status": "ok"}))

    def test_page(self) -> None:
        """A person who comes by is told what this is."""
        status, body = self.request("GET", "/")
        self.assertEqual(status, 200)
        self.assertIn(b"TunnelMesh coordinator", body)

    def test_elsewhere(self) -> None:
        """Other paths and methods do not exist."""
        self.assertEqual(self.request("GET", "/etc/passwd")[0], 404)
        self.assertEqual(self.request("GET", "/v1")[0], 405)
        self.assertEqual(self.request("GET", PATH)[0], 405)
        self.assertEqual(self.request("DELETE", "/healthz")[0], 501)
        self.assertEqual(self.request("HEAD", "/healthz"), (200, b""))
        for path in ("/v1", PATH):
            self.assertEqual(self.request("HEAD", path), (405, b""))

    def test_long_body(self) -> None:
        """A long body is cut off, whether or not its length was announced."""
        self.assertEqual(self.request("POST", PATH, b"x" * (MAX_BODY + 1))[0], 413)
        protocol, transport = self.connect()
        protocol.dataReceived(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(8):
            protocol.dataReceived(b"400\r\n" + b"x" * 1024 + b"\r\n")
        self.assertTrue(transport.value().startswith(b"HTTP/1.1 413 "))
        self.assertTrue(transport.disconnecting)

    def test_silent_connection(self) -> None:
        """Who connects and says nothing is cut off, and leaves no line in the log."""
        lines: list[object] = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)
        _, transport = self.connect()
        self.clock.advance(60)
        self.assertTrue(transport.disconnecting)
        self.assertEqual([], lines)
