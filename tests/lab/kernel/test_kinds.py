"""What is said about the kinds of NAT."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel.kinds import KINDS, connectable, kind_named, punchable


class KindTests(SynchronousTestCase):
    """The table of kinds."""

    def test_flavours(self) -> None:
        """The four flavours have the mapping and filtering that the design gives them."""
        eim, adf, apdf = (
            "endpoint-independent",
            "address-dependent",
            "address-and-port-dependent",
        )
        behaviours = {
            "full-cone": {(eim, eim)},
            "restricted-cone": {(eim, adf)},
            "port-restricted": {(eim, apdf)},
            "symmetric": {(apdf, apdf)},
            "open": {("none", eim)},
            "firewall": {("none", apdf)},
            "udp-blocked": {("blocked", "blocked")},
        }
        for flavour, expected in behaviours.items():
            found = {(k.mapping, k.filtering) for k in KINDS.values() if k.flavour == flavour}
            self.assertEqual(found, expected)
        self.assertEqual({kind.flavour for kind in KINDS.values()}, set(behaviours))

    def test_punchable(self) -> None:
        """A symmetric side is met only where the other lets in any port; blocked ones never."""
        cases = {
            ("symmetric", "full-cone"): True,
            ("symmetric", "restricted-cone"): True,
            ("symmetric", "open"): True,
            ("symmetric", "port-restricted"): False,
            ("symmetric", "firewall"): False,
            ("symmetric-sequential", "symmetric"): False,
            ("linux", "port-restricted"): True,
            ("firewall", "firewall"): True,
            ("open", "web-only"): False,
            ("dual-stack", "dual-stack"): True,
            ("dual-stack", "port-restricted"): False,
        }
        for (one, other), expected in cases.items():
            self.assertEqual(punchable(KINDS[one], KINDS[other]), expected, (one, other))
            self.assertEqual(punchable(KINDS[other], KINDS[one]), expected, (one, other))

    def test_connectable(self) -> None:
        """TCP takes the place of UDP where that does not pass and TCP gets out to any port."""
        cases = {
            ("udp-blocked", "udp-blocked"): True,
            ("udp-blocked", "open"): True,
            ("udp-blocked", "symmetric"): True,
            ("udp-blocked", "web-only"): False,
            ("proxy-only", "open"): False,
            ("full-cone", "open"): False,
            ("symmetric", "symmetric"): False,
            ("dual-stack", "dual-stack"): False,
        }
        for (one, other), expected in cases.items():
            self.assertEqual(connectable(KINDS[one], KINDS[other]), expected, (one, other))
            self.assertEqual(connectable(KINDS[other], KINDS[one]), expected, (one, other))

    def test_unknown(self) -> None:
        """Asking for a kind that is none names those there are."""
        error = self.assertRaises(LabError, kind_named, "cone")
        self.assertIn("restricted-cone", str(error))
