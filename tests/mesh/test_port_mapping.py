"""A router that maps ports makes every pair direct."""

from __future__ import annotations

from tests.counterparts.miniupnpd import PUBLIC, Miniupnpd, require
from tests.mesh.meshes import MeshTestCase
from tunnelmesh.lab.kernel import world

OTHERS = ("symmetric", "symmetric-sequential", "port-restricted", "linux", "firewall")
"""Kinds that a symmetric NAT is not punched to without a mapping, or not for sure."""


class PortMappingTests(MeshTestCase):
    """A machine behind a symmetric NAT, whose router is asked for a port."""

    def setUp(self) -> None:
        """Build the world, or skip."""
        require()
        self.patch(world, "ACCESS", PUBLIC)
        super().setUp()

    def test_direct(self) -> None:
        """It is direct with machines behind every kind of NAT, and gives the port back."""
        site = self.world.add_site("home", "symmetric")
        router = Miniupnpd(site, self.world.folder)
        hosts = [self.world.add_site(kind, kind).add_host(f"in-{kind}") for kind in OTHERS]
        laptop, *others = self.join([site.add_host("laptop"), *hosts])
        self.until(
            lambda: all(
                laptop.path_to(other.name) == other.path_to("laptop") == "udp" for other in others
            ),
            "direct paths",
        )
        self.assertEqual(self.ping(laptop.host, [other.address for other in others]), [])
        forwards = laptop.status()["nat"]["forwards"]
        self.assertEqual(forwards["protocol"], "PCP")
        self.assertTrue(forwards["external"].startswith(f"{site.outside}:"))
        self.assertIn("dnat", router.rules)
        laptop.stop()
        self.assertNotIn("dnat", router.rules)
