"""A hundred changes of the network, one after the other, while a stream is under way."""

from __future__ import annotations

import json
import time
from random import Random

from tests.resilience.laboratory import ResilienceTestCase
from tunnelmesh.lab.kernel import Site
from tunnelmesh.lab.kernel.mesh import Program

CHANGES = 100

PAUSE = (0.3, 0.6)
"""Seconds between changes: less than what recovering from some of them takes."""

SEED = 20261122

KINDS = (
    "open",
    "firewall",
    "full-cone",
    "restricted-cone",
    "port-restricted",
    "linux",
    "symmetric",
    "symmetric-sequential",
    "udp-blocked",
    "web-only",
)


class RandomChangesTests(ResilienceTestCase):
    """Nothing of it is felt but as delay."""

    def change(self, random: Random, sites: list[Site]) -> str:
        """Change something, and say what."""
        site = random.choice(sites)
        what = random.choice(("kind", "kind", "udp", "ssh", "unblock", "roam", "lose", "restart"))
        if what == "kind":
            kind = random.choice(KINDS)
            site.change(kind)
            return f"{site.name} is {kind}"
        if what == "udp":
            site.block(udp=True)
        elif what == "ssh":
            site.block(tcp_port=2222)
        elif what == "unblock":
            site.unblock()
        elif what == "roam":
            site.roam()
        elif what == "lose":
            percent = random.choice((0, 0, 2, 5))
            site.lose(percent)
            return f"{site.name} loses {percent} %"
        else:
            self.mesh.coordinator.kill()
            Program.start(self.mesh.coordinator)  # which waits for nothing
            return "the coordinator restarts"
        return f"{site.name}: {what}"

    def test_hundred(self) -> None:
        """Every byte of one TCP connection arrives, in order, and then the path is direct again."""
        random = Random(SEED)
        home, office, laptop, server = self.pair("port-restricted", "full-cone")
        stream = self.stream(laptop, server, rate=500_000)
        done = []
        for _ in range(CHANGES):
            time.sleep(random.uniform(*PAUSE))
            done.append(self.change(random, [home, office]))
        story = f"seed {SEED}: {', '.join(done)}"
        for site in (home, office):
            site.unblock()
            site.lose(0)
            site.change("port-restricted")
        delivery = stream.finish(60)
        self.assertTrue(delivery.whole, f"{delivery}; {story}")
        self.assertGreater(delivery.received, 0)
        self.until_direct(laptop, server)
        changes = server.ask("history", peer="laptop")
        self.assertGreater(len(changes), CHANGES // 10, json.dumps(changes))
