"""NATs that forget a mapping after 30 seconds, on real ones."""

from __future__ import annotations

import time

from tests.mesh.meshes import MeshTestCase
from tunnelmesh.lab.kernel.mesh import Peer

LIFETIME = 30
"""Seconds that an unused mapping lives: a quarter of what RFC 4787 allows, and not rare."""

IDLE = 50.0
"""Seconds in which nobody uses the path. Without a packet from us both mappings would be gone."""


class LifetimeTests(MeshTestCase):
    """Two homes whose routers forget early."""

    def test_kept_open(self) -> None:
        """An idle path stays direct, and answers the first packet after the silence."""
        sites = [
            self.world.add_site(f"home-{n}", "port-restricted", lifetime=LIFETIME) for n in range(2)
        ]
        one, other = self.join([site.add_host(f"pc-{n}") for n, site in enumerate(sites)])

        ends = ((one, other), (other, one))
        for here, there in ends:
            self.until(lambda here=here, there=there: held(here, there) is not None, "direct paths")
        silent_until = time.monotonic() + IDLE
        while time.monotonic() < silent_until:
            for here, there in ends:
                self.assertIsNotNone(held(here, there), f"{here.name} lost its direct path")
            time.sleep(0.5)
        self.assertEqual(self.ping(one.host, [other.address]), [])
        for here, there in ends:
            self.assertGreater(held(here, there) or 0, IDLE - 1)


def held(here: Peer, there: Peer) -> float | None:
    """For how many seconds a peer has been on the direct path that it is on to another."""
    for each in here.status().get("peers", ()):
        if each["name"] == there.name and each["path"]["kind"] == "udp":
            return float(each["path"]["since_s"])
    return None
