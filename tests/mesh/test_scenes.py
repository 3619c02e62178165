"""A few machines in one mesh, and what happens to them."""

from __future__ import annotations

from subprocess import PIPE

from tests.mesh.meshes import RELAYED, MeshTestCase
from tunnelmesh.lab.kernel.mesh import Peer

FOREIGN = "100.96.200.200"
"""An address of the mesh that nobody has."""


class SceneTests(MeshTestCase):
    """Two or three peers, real NATs."""

    def setUp(self) -> None:
        """Two machines that can meet directly."""
        super().setUp()
        self.laptop = self.world.add_site("home", "port-restricted").add_host("laptop")
        self.server = self.world.add_site("office", "restricted-cone").add_host("server")

    def meet(self) -> tuple[Peer, Peer]:
        """Both join, and wait for the direct path."""
        laptop, server = self.join([self.laptop, self.server])
        self.until(
            lambda: laptop.path_to("server") == server.path_to("laptop") == "udp", "a direct path"
        )
        return laptop, server

    def test_relay_only(self) -> None:
        """A peer that is told so stays relayed, on both ends, where it could punch."""
        (laptop,) = self.join([self.laptop])
        (server,) = self.join([self.server], "--relay-only")
        self.until(lambda: server.path_to("laptop"), "a path")
        laptop.host.run(["ping", "-q", "-i0.05", "-c20", server.address])
        self.assertIn(laptop.path_to("server"), RELAYED)
        self.assertIn(server.path_to("laptop"), RELAYED)
        self.assertEqual(server.status()["nat"]["external"], None)

    def test_foreign_source(self) -> None:
        """Packets that a peer sends from an address not its own are dropped, and counted."""
        laptop, server = self.meet()
        laptop.host.run(["ip", "address", "add", f"{FOREIGN}/32", "dev", "tm0"])
        ping = ["ping", "-q", "-i0.05", "-c3", "-W1", server.address]
        self.assertEqual(laptop.host.run([*ping, "-I", FOREIGN], check=False).returncode, 1)
        self.assertEqual(server.status()["dropped"]["not the peer's own address"], 3)
        laptop.host.run(ping)

    def test_coordinator_killed(self) -> None:
        """Direct paths need no coordinator; killed and started again, it knows all its members."""
        laptop, server = self.meet()
        before = self.members()
        coordinator = self.mesh.coordinator
        ping = ["ping", "-q", "-i0.02", "-c100", "-W1", server.address]
        running = laptop.host.popen(ping, stdout=PIPE, text=True)
        coordinator.kill()
        self.until(lambda: laptop.link is None and server.link is None, "the links' end")
        coordinator.start()
        self.assertEqual(self.members(), before)
        self.until(lambda: laptop.link and server.link, "new links")
        said, _ = running.communicate()
        self.assertIn(" 0% packet loss", said)
        self.assertEqual(laptop.path_to("server"), "udp")
        self.assertEqual(len(laptop.ask("history", peer="server")), 2)

    def members(self) -> set[tuple[str, str]]:
        """Names and addresses of the members, by the coordinator's word."""
        told = self.mesh.coordinator.status()["peers"]
        return {(member["name"], member["address"]) for member in told}
