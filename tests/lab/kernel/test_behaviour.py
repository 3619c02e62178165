"""Every kind of gateway does what its description says, measured with plain sockets."""

from __future__ import annotations

from .laboratory import LaboratoryTestCase

ALL_TCP = [80, 443, 2222, 8080, 8443]


class BehaviourTests(LaboratoryTestCase):
    """One site of every kind, measured at once."""

    def test_every_kind(self) -> None:
        """Mapping, filtering, ports and TCP are as described, for all kinds."""
        self.correspond()
        kinds = list(self.world.kinds.values())
        hosts = [self.world.add_site(k.name, k.name).add_host(f"in-{k.name}") for k in kinds]
        for kind, seen in zip(kinds, self.probe(*hosts), strict=True):
            measured = (seen["mapping"], seen["filtering"])
            self.assertEqual(measured, (kind.mapping, kind.filtering), kind.name)
            tcp = {"web-only": [80, 443, 8080]}.get(kind.name, [] if kind.proxied else ALL_TCP)
            self.assertEqual(seen["tcp"], tcp, kind.name)
            if kind.ports == "sequential":
                first = seen["ports"][0]
                self.assertEqual(seen["ports"], [first, first + 1, first + 2])
