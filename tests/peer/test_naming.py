"""Tests for :mod:`tunnelmesh.peer.naming`: what people are told about names on their machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Interface
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.peer.world import WorldTestCase, node
from tunnelmesh.names.zone import Code, Kind
from tunnelmesh.peer import naming as module
from tunnelmesh.peer.membership import Membership
from tunnelmesh.peer.naming import Naming
from tunnelmesh.wire.endpoint import Endpoint

MEMBERSHIP = Membership(
    "192.0.2.1", 443, 2222, b"k" * 32, False, "laptop", IPv4Address("100.96.0.1"), 16
)


class Resolved:
    """A systemd-resolved that answers when the test says."""

    is_here = True

    def __init__(self, reactor: Any, environment: Any) -> None:
        self.answer: Deferred[str] = Deferred()
        self.told: list[tuple[Any, ...]] = []

    def use(self, link: str, server: Endpoint, apexes: Sequence[str]) -> Deferred[str]:
        """Hear of a link."""
        self.told.append((link, server, apexes[0]))
        return self.answer

    def revert(self, link: str) -> Deferred[str]:
        """Hear that it is over."""
        self.told.append((link,))
        return succeed("")


class Nowhere(Resolved):
    """No systemd-resolved."""

    is_here = False


class HintTests(SynchronousTestCase):
    """What is in the way is said, with what to do."""

    def start(self, resolved: type[Resolved], *taken: int, no_dns: bool = False) -> Naming:
        """Start on a machine where ports may be taken."""
        self.patch(module, "Resolved", resolved)
        reactor = MemoryReactorClock()

        def listen(port: int, protocol: Any, interface: str, maxPacketSize: int) -> Any:
            if port in taken:
                raise CannotListenError(interface, port, OSError("Permission denied"))
            return reactor.listenTCP(port, protocol, interface=interface)

        reactor.listenUDP = listen
        peer: Any = SimpleNamespace(
            membership=MEMBERSHIP,
            interface6=IPv6Interface("fd74:6d01:203::1/48"),
            config=SimpleNamespace(no_dns=no_dns),
            mesh=SimpleNamespace(members=SimpleNamespace(remotes={}, by_address={})),
        )
        naming = Naming(reactor, peer, {})
        self.assertIn("no network device", naming.status()["hint"])
        naming.start("tm0")
        return naming

    def test_all_well(self) -> None:
        """Once systemd-resolved has taken the domain there is nothing to say, and at the end it is
        taken back."""
        naming = self.start(Resolved)
        resolved: Any = naming._resolved
        self.assertEqual(resolved.told, [("tm0", Endpoint("100.96.0.1", 53), "mesh")])
        self.assertFalse(naming.status()["resolved"])
        resolved.answer.callback("")
        self.assertEqual(
            naming.status(),
            {"server": "100.96.0.1:53", "domain": "mesh", "resolved": True, "hint": ""},
        )
        naming.stop()
        self.assertEqual(resolved.told[1:], [("tm0",)])
        self.assertEqual(naming.status()["server"], None)

    def test_refused(self) -> None:
        """If it refuses, the hint has its reason, and the commands for root."""
        self.patch(os, "geteuid", lambda: 1000)
        naming = self.start(Resolved)
        resolved: Any = naming._resolved
        resolved.answer.callback("Access denied")
        hint = naming.status()["hint"]
        self.assertIn("Access denied", hint)
        self.assertIn("resolvectl dns tm0 100.96.0.1", hint)
        naming.stop()
        self.assertEqual(len(resolved.told), 1)

    def test_not_running(self) -> None:
        """If it refuses even root, it is another resolver that is in use here."""
        self.patch(os, "geteuid", lambda: 0)
        naming = self.start(Resolved)
        resolved: Any = naming._resolved
        resolved.answer.callback("Could not activate remote peer")
        hint = naming.status()["hint"]
        self.assertIn("Could not activate", hint)
        self.assertIn("server=/mesh/100.96.0.1#53", hint)

    def test_stopped_meanwhile(self) -> None:
        """An answer that comes after the end changes nothing."""
        naming = self.start(Resolved)
        naming.stop()
        resolved: Any = naming._resolved
        resolved.answer.callback("")
        self.assertFalse(naming.status()["resolved"])

    def test_no_resolved(self) -> None:
        """Without it, the hint has the line for another resolver, with the port that was free."""
        hint = self.start(Nowhere, 53).status()["hint"]
        self.assertIn("server=/mesh/100.96.0.1#10053", hint)

    def test_no_port(self) -> None:
        """If no port can be had, the hint has the reason, and nobody is told of a server."""
        naming = self.start(Resolved, 53, 10053)
        self.assertIn("Permission denied", naming.status()["hint"])
        resolved: Any = naming._resolved
        self.assertEqual(resolved.told, [])

    def test_switched_off(self) -> None:
        """With --no-dns nothing is served and nobody is told."""
        naming = self.start(Resolved, no_dns=True)
        self.assertEqual(naming.status()["server"], None)
        self.assertIn("--no-dns", naming.status()["hint"])


class MemberTests(WorldTestCase):
    """Names of the members of a simulated mesh."""

    def test_members(self) -> None:
        """Members are found by name and by address as they are now, this machine included."""
        here, _ = self.pair()
        zone = node(here).naming._zone
        there = node(here).mesh.members.remotes["there"]
        for name, address, address6 in (
            ("there", there.address, there.address6),
            ("here", node(here).membership.address, zone.directory.addresses("here")[1]),
        ):
            found = zone.answer(f"{name}.mesh", Kind.ANY).records
            self.assertEqual([record.value for record in found], [address, address6])
            for each in (address, address6):
                (pointer,) = zone.answer(each.reverse_pointer, Kind.PTR).records
                self.assertEqual(pointer.value, f"{name}.mesh")
        node(here).mesh.members._dismiss(there)
        self.assertEqual(zone.answer("there.mesh", Kind.A).code, Code.NO_SUCH_NAME)
        gone = zone.answer(there.address.reverse_pointer, Kind.PTR)
        self.assertEqual(gone.code, Code.NO_SUCH_NAME)
