"""Tests for :mod:`tunnelmesh.names.zone`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from twisted.trial.unittest import SynchronousTestCase

from tests.names.directory import HOMELAB, HOMELAB6, NETWORK, NETWORK6, Directory
from tunnelmesh.names.zone import Answer, Code, Kind, Record, Zone

REVERSE = "96.100.in-addr.arpa"
REVERSE6 = "3.7.5.6.d.6.d.6.4.7.d.f.ip6.arpa"


class ZoneTests(SynchronousTestCase):
    """What is said of which name."""

    def setUp(self) -> None:
        self.directory = Directory()
        self.zone = Zone(self.directory, [NETWORK, NETWORK6])

    def ask(self, name: str, kind: Kind) -> Answer:
        """Ask the zone."""
        return self.zone.answer(name, kind)

    def test_addresses(self) -> None:
        """A member's name has its addresses, in any case, with the last dot or without."""
        for name in ("homelab.mesh", "homelab.mesh.", "HomeLab.MESH"):
            self.assertEqual(
                self.ask(name, Kind.A), Answer(Code.FOUND, (Record(Kind.A, HOMELAB),), "mesh")
            )
            self.assertEqual(
                self.ask(name, Kind.AAAA).records, (Record(Kind.AAAA, HOMELAB6),), name
            )
        both = {record.kind for record in self.ask("homelab.mesh", Kind.ANY).records}
        self.assertEqual(both, {Kind.A, Kind.AAAA})

    def test_no_data(self) -> None:
        """A name that exists has no records of other types, and exists all the same."""
        for name, kind in (
            ("homelab.mesh", Kind.PTR),
            ("laptop.mesh", Kind.AAAA),
            ("mesh", Kind.A),
            (f"2.0.{REVERSE}", Kind.A),
            (f"0.{REVERSE}", Kind.PTR),
        ):
            answer = self.ask(name, kind)
            self.assertEqual((answer.code, answer.records), (Code.FOUND, ()), name)
            self.assertTrue(answer.apex, name)

    def test_no_such_name(self) -> None:
        """Nobody has other names below the domain, nor the mesh's other addresses."""
        for name in ("office.mesh", "x.homelab.mesh", ".mesh", "home lab.mesh", f"9.9.{REVERSE}"):
            answer = self.ask(name, Kind.A)
            self.assertEqual((answer.code, answer.records), (Code.NO_SUCH_NAME, ()), name)

    def test_names_that_programs_believe(self) -> None:
        """A member called wpad does not become everybody's proxy."""
        self.assertEqual(self.ask("wpad.mesh", Kind.A).code, Code.NO_SUCH_NAME)
        self.assertEqual(self.ask("localhost.mesh", Kind.A).code, Code.NO_SUCH_NAME)

    def test_reverse(self) -> None:
        """A member's addresses have its name."""
        for address in (HOMELAB, HOMELAB6):
            answer = self.ask(address.reverse_pointer.upper(), Kind.PTR)
            self.assertEqual(answer.records, (Record(Kind.PTR, "homelab.mesh"),))

    def test_apex(self) -> None:
        """Each domain has this machine as its server."""
        self.assertEqual(self.zone.apexes, ["mesh", REVERSE, REVERSE6])
        for apex in self.zone.apexes:
            self.assertEqual(self.ask(apex, Kind.SOA).records, (Record(Kind.SOA),))
            servers = self.ask(apex, Kind.NS).records
            self.assertEqual(servers, (Record(Kind.NS, "laptop.mesh"),))

    def test_refused(self) -> None:
        """Everything else is somebody else's, and the zone is not given away as a whole."""
        for name in (
            *("", "example.com", "homelab", "mesh.example", "meshes"),
            *("in-addr.arpa", "100.in-addr.arpa", "1.0.97.100.in-addr.arpa", "x.in-addr.arpa"),
            *(f"1.2.3.{REVERSE}", f"300.0.{REVERSE}", f"-1.{REVERSE}", f"01.0.{REVERSE}"),
            *("ip6.arpa", f"12.{REVERSE6}", f"g.{REVERSE6}", f"{'0.' * 30}{REVERSE6}"),
        ):
            self.assertEqual(self.ask(name, Kind.A), Answer(Code.REFUSED), name)
        self.assertEqual(self.ask("mesh", Kind.AXFR), Answer(Code.REFUSED))

    def test_at_once(self) -> None:
        """Who joins, leaves or has another name is right in the next answer."""
        self.directory.known["office"] = self.directory.known.pop("homelab")
        self.assertEqual(self.ask("homelab.mesh", Kind.A).code, Code.NO_SUCH_NAME)
        self.assertEqual(self.ask("office.mesh", Kind.A).records, (Record(Kind.A, HOMELAB),))
        name = self.ask(HOMELAB.reverse_pointer, Kind.PTR).records
        self.assertEqual(name, (Record(Kind.PTR, "office.mesh"),))

    def test_odd_pools(self) -> None:
        """A pool that ends within a label has the reverse domains that cover just it."""
        for pool, count, inside, outside in (
            ("100.96.16.0/20", 16, "100.96.31.1", "100.96.32.1"),
            ("100.96.0.8/29", 8, "100.96.0.15", "100.96.0.16"),
            ("10.0.0.0/8", 1, "10.255.0.1", "11.0.0.1"),
        ):
            small = Zone(self.directory, [IPv4Network(pool)])
            self.assertEqual(len(small.apexes), 1 + count)
            for address, code in ((inside, Code.NO_SUCH_NAME), (outside, Code.REFUSED)):
                name = IPv4Address(address).reverse_pointer
                self.assertEqual(small.answer(name, Kind.PTR).code, code, (pool, address))
