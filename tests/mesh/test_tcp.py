"""A direct path over TCP, through kernel NATs that let no UDP out."""

from __future__ import annotations

from tests.mesh.meshes import MeshTestCase
from tunnelmesh.lab.kernel import Host


class TcpTests(MeshTestCase):
    """Two offices without UDP."""

    def test_simultaneous_open(self) -> None:
        """Linux's NATs are crossed from both sides at once; then nothing listens any more."""
        hosts = [
            self.world.add_site(name, "udp-blocked").add_host(f"{name}-pc")
            for name in ("office", "hotel")
        ]
        here, there = self.join(hosts)
        self.until(
            lambda: here.path_to("hotel-pc") == there.path_to("office-pc") == "tcp", "a direct path"
        )
        self.assertIn("Direct over TCP", here.ask("explain", peer="hotel-pc")["summary"])
        (changed, *_) = [c for c in here.ask("history", peer="hotel-pc") if "tcp" in c["to"]]
        self.assertEqual((changed["from"], changed["outage_ms"]), ("ssh relay", 0))
        self.fetch(here, there)
        self.assertEqual(here.path_to("hotel-pc"), "tcp")
        for host in hosts:
            self.until(lambda host=host: not open_doors(host), "the door's closing")


def open_doors(host: Host) -> list[str]:
    """What listens for the world on a machine; its mesh address is another matter."""
    listening = [line.split()[3] for line in host.run(["ss", "-Htln"]).stdout.splitlines()]
    return [local for local in listening if not local.startswith("100.96.")]
