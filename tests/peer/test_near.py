"""The shortest way: one LAN, one carrier, NAT behind NAT, mappings that live shortly."""

from __future__ import annotations

from itertools import product

from tests.peer.world import WorldTestCase, remote
from tunnelmesh.lab.sim import Nat
from tunnelmesh.lab.sim.mesh import SimulatedPeer

CONES = ("full-cone", "restricted-cone", "port-restricted")


class NearTests(WorldTestCase):
    """Two peers, somewhere behind the same gateway or behind several."""

    def put(self, name: str, behind: Nat) -> SimulatedPeer:
        """A peer in a network."""
        host = behind.host(name=name)
        peer = SimulatedPeer(self.internet, host, self.folder / name, self.token)
        self.peers.append(peer)
        peer.start()
        return peer

    def two(self, one: Nat, other: Nat) -> tuple[SimulatedPeer, SimulatedPeer]:
        """Two peers."""
        return self.put("here", one), self.put("there", other)

    def where(self, here: SimulatedPeer, there: SimulatedPeer) -> list[str | None]:
        """At which address each reaches the other."""
        if not (here.path_to("there") and there.path_to("here")):
            return []
        ways = (remote(here, "there").path_remote, remote(there, "here").path_remote)
        return [None if way is None else way.host for way in ways]

    def test_one_lan(self) -> None:
        """Two on one LAN use its addresses, whatever the gateway is, hairpin or not."""
        for number, (kind, hairpin) in enumerate(product(("symmetric", "full-cone"), (0, 1))):
            self.internet.clock.advance(1)
            home = self.internet.nat(f"198.51.100.{number + 1}", kind=kind, hairpin=bool(hairpin))
            here, there = self.put(f"here{number}", home), self.put(f"there{number}", home)

            def at_last(
                number: int = number, pair: tuple[SimulatedPeer, ...] = (here, there)
            ) -> bool:
                one, other = pair
                if not (one.path_to(f"there{number}") and other.path_to(f"here{number}")):
                    return False
                ways = (
                    remote(one, f"there{number}").path_remote,
                    remote(other, f"here{number}").path_remote,
                )
                return [way and way.host for way in ways] == ["192.168.1.3", "192.168.1.2"]

            self.until(at_last)

    def test_carrier_that_hairpins(self) -> None:
        """Two homes behind one carrier meet at its outside address, if it hairpins."""
        carrier = self.internet.nat("198.51.100.1", hairpin=True)
        homes = [carrier.nat(f"100.64.0.{n}") for n in (2, 3)]
        here, there = self.two(*homes)
        self.until(lambda: self.where(here, there) == ["198.51.100.1"] * 2)

    def test_carrier_that_does_not(self) -> None:
        """Otherwise two behind NATs of their own stay relayed; two on its own network do not."""
        carrier = self.internet.nat("198.51.100.1")
        here, there = self.two(*(carrier.nat(f"100.64.0.{n}") for n in (2, 3)))
        self.until(lambda: here.path_to("there") == there.path_to("here") == "ssh")
        self.internet.run(20)
        self.assertEqual(self.where(here, there), [None, None])
        for peer, address in ((here, "100.64.0.12"), (there, "100.64.0.13")):
            peer.host.move_to(carrier, address)
        self.until(lambda: self.where(here, there) == ["100.64.0.13", "100.64.0.12"])

    def test_double_nat(self) -> None:
        """A cone in a cone is a cone; behind a symmetric carrier, any cone is symmetric."""
        server = self.internet.nat("203.0.113.77", kind="restricted-cone")
        self.put("there", server)
        for number, (inner, outer) in enumerate(product(CONES, (*CONES, "symmetric")), 1):
            carrier = self.internet.nat(f"198.51.100.{number}", kind=outer)
            name = f"here{number}"
            here = self.put(name, carrier.nat("100.64.0.2", kind=inner))
            self.until(lambda here=here: here.path_to("there") == "udp", 5)
            self.assertEqual(remote(here, "there").path_remote.host, "203.0.113.77")
            here.kill()

    def test_short_lifetimes(self) -> None:
        """Mappings that live for 30 s: the idle path learns how often to ping, and then stays."""
        here, there = self.pair()
        for nat in self.nats:
            nat.change("port-restricted", lifetime=30.0)
        self.internet.run(900)
        changes = len(remote(here, "there").history.changes)
        self.internet.run(1800)
        self.assertEqual(here.path_to("there"), "udp")
        self.assertEqual(there.path_to("here"), "udp")
        self.assertLessEqual(len(remote(here, "there").history.changes) - changes, 2)
