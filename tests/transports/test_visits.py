"""Tests for :mod:`tunnelmesh.transports.visits`."""

# Twisted's test cases are without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.transports.links import LoopbackTestCase, User, Wire, reactor, site, until
from tunnelmesh.transports.strangers import MAX_STRANGERS_EACH
from tunnelmesh.transports.tls import Chain, certificate_chain, server_tls
from tunnelmesh.transports.visits import VISIT_SECONDS, VisitFactory


class VisitTests(SynchronousTestCase):
    """Connections in memory, under a clock that only we move."""

    def setUp(self) -> None:
        self.clock = Clock()
        chain = certificate_chain(Ed25519PrivateKey.generate(), [], datetime.now(UTC))
        self.factory = VisitFactory(self.clock, server_tls(chain), site(User(), self.clock))

    def visit(self, host: str = "192.0.2.1") -> Wire | None:
        """Somebody connects, if let."""
        wire = Wire(self.clock)
        wire.protocol = self.factory.buildProtocol(IPv4Address("TCP", host, 4711))
        if wire.protocol is None:
            return None
        wire.protocol.makeConnection(wire)
        return wire

    def test_few_from_one_place(self) -> None:
        """One address gets so many connections; others are not harmed, and room comes back."""
        wires = [self.visit() for _ in range(MAX_STRANGERS_EACH)]
        self.assertIsNone(self.visit())
        self.assertEqual(self.factory.turned_away, 1)
        self.assertIsNotNone(self.visit("192.0.2.2"))
        assert wires[0] is not None
        wires[0].abortConnection()
        self.clock.advance(0)
        self.assertIsNotNone(self.visit())

    def test_drop_by_drop(self) -> None:
        """Who sends a byte now and then, which the site's timeout forgives, is cut off in time."""
        wire = self.visit()
        assert wire is not None
        wire.protocol.dataReceived(b"\x16\x03\x01\x3f\x00")
        for _ in range(int(VISIT_SECONDS)):
            self.clock.advance(1)
            if wire.connected:
                wire.protocol.dataReceived(b"\x00")
        self.clock.advance(0)
        self.assertFalse(wire.connected)
        self.assertEqual(len(self.factory.strangers), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LinkTests(LoopbackTestCase):
    """A visit that turns out to be a link."""

    def serve(self, chain: Chain, factory: Any) -> int:
        """Listen as a coordinator does."""
        self.factory = VisitFactory(reactor, server_tls(chain), factory)
        port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def test_link_stays(self) -> None:
        """It is no stranger any more: nothing limits its time."""
        link = await self.connect()
        await until(lambda: self.coordinator.links)
        self.assertEqual(len(self.factory.strangers), 0)
        late = [c for c in reactor.getDelayedCalls() if c.getTime() > reactor.seconds() + 20]
        self.assertEqual(late, [])
        link.close("done")
        await until(lambda: self.coordinator.lost)
