"""Every NAT kind, seen from outside by raw UDP, as a STUN client would."""

from __future__ import annotations

from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from tests.lab.sim.parts import Hear
from tunnelmesh.errors import LabError
from tunnelmesh.lab.sim import KINDS, Host, Internet, Nat

A, B = "203.0.113.10", "203.0.113.11"

#: kind: (mapping, who can send in: the contacted endpoint, its address, anyone).
EXPECTED = {
    "open": ("none", (True, True, True)),
    "firewall": ("none", (True, False, False)),
    "full-cone": ("independent", (True, True, True)),
    "restricted-cone": ("independent", (True, True, False)),
    "port-restricted": ("independent", (True, False, False)),
    "linux": ("independent", (True, False, False)),
    "symmetric": ("dependent", (True, False, False)),
    "symmetric-sequential": ("dependent", (True, False, False)),
    "udp-blocked": ("blocked", (False, False, False)),
    "web-only": ("blocked", (False, False, False)),
    "proxy-only": ("blocked", (False, False, False)),
    "proxy-auth": ("blocked", (False, False, False)),
}


class Case(SynchronousTestCase):
    """One machine behind a gateway, and four sockets on two addresses outside."""

    def setUp(self) -> None:
        self.internet = Internet(seed=3)
        server = self.internet.host(A, B, name="server")
        self.outside: dict[tuple[str, int], Hear] = {}
        for host in (A, B):
            for port in (3478, 3479):
                self.outside[host, port] = Hear()
                server.listenUDP(port, self.outside[host, port], interface=host)

    def behind(self, nat: Nat) -> Hear:
        """A machine behind *nat* with a socket."""
        return self.open(nat.host())

    def open(self, host: Host, port: int = 0) -> Hear:
        """A socket on a machine."""
        hear = Hear()
        host.listenUDP(port, hear)
        return hear

    def external(self, hear: Hear, to: tuple[str, int] = (A, 3478)) -> tuple[str, int] | None:
        """The endpoint from which a datagram of this socket arrives outside."""
        listener = self.outside[to]
        before = len(listener.heard)
        hear.transport.write(b"out", to)
        self.internet.run(1)
        return listener.sources[-1] if len(listener.heard) > before else None

    def lets_in(self, hear: Hear, source: tuple[str, int], to: tuple[str, int]) -> bool:
        """Whether a datagram from outside gets to this socket."""
        before = len(hear.heard)
        self.outside[source].transport.write(b"in", to)
        self.internet.run(1)
        return len(hear.heard) > before


class MappingTests(Case):
    """Mapping and filtering of each kind."""

    def test_every_kind_is_expected(self) -> None:
        """This test knows every kind that there is."""
        self.assertEqual(set(EXPECTED), set(KINDS))

    def check(self, kind: str) -> None:
        """One kind does what its name says."""
        nat = self.internet.nat("198.51.100.1", kind=kind)
        host = nat.host()
        hear = self.open(host)
        mapping, filtering = EXPECTED[kind]
        first, second = self.external(hear), self.external(hear, (A, 3479))
        if mapping == "blocked":
            self.assertIsNone(first)
            return
        self.assertIsNotNone(first)
        assert first is not None
        inner = hear.transport.getHost().port
        if mapping == "none":
            self.assertEqual(first, ("198.51.100.1", inner))
        self.assertEqual(first == second, mapping != "dependent")
        # A socket that has contacted only one endpoint, so that the others are strangers.
        hear = self.open(host)
        external = self.external(hear)
        assert external is not None
        allowed = tuple(
            self.lets_in(hear, source, external) for source in ((A, 3478), (A, 3479), (B, 3478))
        )
        self.assertEqual(allowed, filtering)


def _add(kind: str) -> None:
    def test(self: MappingTests) -> None:
        self.check(kind)

    test.__doc__ = f"The kind {kind!r} maps and filters as it should."
    setattr(MappingTests, f"test_{kind.replace('-', '_')}", test)


for _kind in KINDS:
    _add(_kind)


class PortTests(Case):
    """How external ports are chosen (RFC 4787 §4.2)."""

    def test_preserve(self) -> None:
        """A NAT that preserves ports does, until two machines have the same."""
        nat = self.internet.nat("198.51.100.1", kind="linux")
        first, second = self.open(nat.host(), 5000), self.open(nat.host(), 5000)
        self.assertEqual(self.external(first), ("198.51.100.1", 5000))
        self.assertNotEqual(self.external(second), ("198.51.100.1", 5000))

    def test_sequential(self) -> None:
        """A sequential NAT's ports go up by one."""
        hear = self.behind(self.internet.nat("198.51.100.1", kind="symmetric-sequential"))
        found = [self.external(hear, to) for to in self.outside]
        ports = [external[1] for external in found if external]
        self.assertEqual(ports, list(range(ports[0], ports[0] + 4)))

    def test_random(self) -> None:
        """A random NAT's ports show no order."""
        hear = self.behind(self.internet.nat("198.51.100.1", kind="symmetric"))
        found = [self.external(hear, to) for to in self.outside]
        steps = {b[1] - a[1] for a, b in pairwise(found) if a and b}
        self.assertEqual(len(steps), 3)

    def test_override(self) -> None:
        """Any field of a kind's behaviour can be another; a field that is none is refused."""
        nat = self.internet.nat("198.51.100.1", kind="symmetric", ports="preserve")
        self.assertEqual(nat.behaviour.ports, "preserve")
        error = self.assertRaises(LabError, self.internet.nat, "198.51.100.2", colour="red")
        self.assertIn("colour", str(error))

    def test_unknown_kind(self) -> None:
        """A kind that does not exist is refused with the list of those that do."""
        error = self.assertRaises(LabError, self.internet.nat, "198.51.100.2", kind="conical")
        self.assertIn("port-restricted", str(error))


class LifetimeTests(Case):
    """Mappings and permissions end (RFC 4787 §4.3)."""

    def setUp(self) -> None:
        super().setUp()
        nat = self.internet.nat("198.51.100.1", kind="port-restricted", lifetime=30)
        self.hear = self.behind(nat)
        external = self.external(self.hear)
        assert external is not None
        self.mapped = external

    def test_outbound_refreshes(self) -> None:
        """A packet out every 25 seconds keeps a mapping of 30 seconds."""
        for _ in range(4):
            self.internet.run(25)
            self.assertEqual(self.external(self.hear), self.mapped)
        self.assertTrue(self.lets_in(self.hear, (A, 3478), self.mapped))

    def test_inbound_does_not_refresh(self) -> None:
        """Packets in alone do not keep it."""
        for _ in range(2):
            self.internet.run(12)
            self.assertTrue(self.lets_in(self.hear, (A, 3478), self.mapped))
        self.internet.run(12)
        self.assertFalse(self.lets_in(self.hear, (A, 3478), self.mapped))

    def test_new_mapping(self) -> None:
        """After its end, another external port is given."""
        self.internet.run(31)
        self.assertNotEqual(self.external(self.hear), self.mapped)

    def test_permissions_end_one_by_one(self) -> None:
        """Talking to one endpoint does not keep the door open for another."""
        for _ in range(2):
            self.internet.run(20)
            self.assertEqual(self.external(self.hear, (B, 3478)), self.mapped)
        self.assertFalse(self.lets_in(self.hear, (A, 3478), self.mapped))
        self.assertTrue(self.lets_in(self.hear, (B, 3478), self.mapped))


class TopologyTests(Case):
    """Hairpins, neighbours, nested NATs and live changes."""

    def check_hairpin(self, hairpin: bool) -> list[tuple[str, int]]:
        """Two machines behind one NAT by their external endpoints; what arrives, from where."""
        nat = self.internet.nat("198.51.100.1", kind="full-cone", hairpin=hairpin)
        one, two = self.behind(nat), self.behind(nat)
        external = self.external(two)
        assert external is not None
        one.transport.write(b"hello", external)
        self.internet.run(1)
        return two.sources

    def test_hairpin(self) -> None:
        """A NAT with hairpinning shows the sender's external endpoint (RFC 4787 REQ-9)."""
        sources = self.check_hairpin(True)
        self.assertEqual([host for host, _ in sources], ["198.51.100.1"])

    def test_no_hairpin(self) -> None:
        """A NAT without it drops the packet."""
        self.assertEqual(self.check_hairpin(False), [])

    def test_neighbours(self) -> None:
        """Machines in one network reach each other directly, and quickly."""
        nat = self.internet.nat("198.51.100.1", kind="udp-blocked")
        one, two = self.behind(nat), self.behind(nat)
        one.transport.write(b"hello", ("192.168.1.3", two.transport.getHost().port))
        took = self.internet.run_until(lambda: two.heard, 1)
        self.assertEqual(two.sources[0][0], "192.168.1.2")
        self.assertLess(took, 0.002)

    def test_nested(self) -> None:
        """Behind a home's NAT behind a carrier's, the carrier's address is what is seen."""
        carrier = self.internet.nat("198.51.100.1", kind="full-cone")
        home = carrier.nat("100.64.0.2", kind="port-restricted")
        hear = self.behind(home)
        external = self.external(hear)
        assert external is not None
        self.assertEqual(external[0], "198.51.100.1")
        self.assertTrue(self.lets_in(hear, (A, 3478), external))
        self.assertFalse(self.lets_in(hear, (A, 3479), external))

    def test_roam(self) -> None:
        """With a new external address the old one leads nowhere."""
        nat = self.internet.nat("198.51.100.1", kind="full-cone")
        hear = self.behind(nat)
        old = self.external(hear)
        assert old is not None
        nat.roam("198.51.100.77")
        self.assertFalse(self.lets_in(hear, (A, 3478), old))
        new = self.external(hear)
        assert new is not None
        self.assertEqual(new[0], "198.51.100.77")

    def test_change(self) -> None:
        """A NAT becomes another kind, and forgets its mappings."""
        nat = self.internet.nat("198.51.100.1", kind="full-cone")
        hear = self.behind(nat)
        old = self.external(hear)
        assert old is not None
        nat.change("symmetric")
        self.assertFalse(self.lets_in(hear, (A, 3478), old))
        self.assertNotEqual(self.external(hear), self.external(hear, (B, 3478)))
        self.assertRaises(LabError, nat.change, "open")

    def test_block(self) -> None:
        """UDP is blocked both ways, and unblocked; the mapping survives."""
        nat = self.internet.nat("198.51.100.1", kind="full-cone")
        hear = self.behind(nat)
        external = self.external(hear)
        assert external is not None
        nat.block(udp=True)
        self.assertIsNone(self.external(hear))
        self.assertFalse(self.lets_in(hear, (A, 3478), external))
        nat.unblock(udp=True)
        self.assertTrue(self.lets_in(hear, (A, 3478), external))

    def test_ipv6_is_filtered_only(self) -> None:
        """IPv6 passes a NAT untranslated, but only as answers."""
        server = self.internet.host("2001:db8::10")
        outside, stranger = Hear(), Hear()
        server.listenUDP(3478, outside, interface="::")
        server.listenUDP(3479, stranger, interface="::")
        nat = self.internet.nat("198.51.100.1")
        laptop = nat.host("192.168.1.2", "2001:db8:1::2")
        inside = Hear()
        laptop.listenUDP(5000, inside, interface="::")
        inside.transport.write(b"out", ("2001:db8::10", 3478))
        self.internet.run(1)
        self.assertEqual(outside.sources, [("2001:db8:1::2", 5000)])
        outside.transport.write(b"answer", ("2001:db8:1::2", 5000))
        stranger.transport.write(b"in", ("2001:db8:1::2", 5000))
        self.internet.run(1)
        self.assertEqual(inside.sources, [("2001:db8::10", 3478)])
