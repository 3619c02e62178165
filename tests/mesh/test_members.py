"""The commands about members, typed on real machines."""

from __future__ import annotations

import json
from subprocess import DEVNULL

from tests.mesh.meshes import PATIENCE, MeshTestCase
from tunnelmesh.lab.kernel.mesh import TUNNELMESH, Program
from tunnelmesh.peer.membership import FILE as MEMBERSHIP


class MembersTests(MeshTestCase):
    """Two machines and a coordinator."""

    def command(self, where: Program, *words: str) -> str:
        """What a command that works prints on a machine."""
        done = where.host.run([*TUNNELMESH, *words, f"--state-dir={where.state_dir}"])
        return done.stdout

    def members(self) -> dict[str, bool]:
        """Who is a member, and whether it is online."""
        listed = json.loads(self.command(self.mesh.coordinator, "members", "--json"))
        return {member["name"]: member["online"] for member in listed}

    def status_of(self, program: Program) -> int:
        """What a program that ends by itself exits with."""
        assert program.process is not None
        return program.process.wait(PATIENCE)

    def test_coming_and_going(self) -> None:
        """Renamed, removed while it is used, invited again, and gone by itself."""
        coordinator = self.mesh.coordinator
        hosts = [
            self.world.add_site(site, "port-restricted").add_host(host)
            for site, host in (("home", "laptop"), ("office", "server"))
        ]
        laptop, server = self.join(hosts)
        address = server.address
        self.assertEqual(self.members(), {"laptop": True, "server": True})
        self.assertIn("by ssh", self.command(coordinator, "members"))

        self.command(server, "rename", "attic")
        self.until(lambda: laptop.path_to("attic") == "udp", "the new name")
        self.assertIn("1 ", self.command(laptop, "ping", "-c1", "attic"))
        self.assertEqual(self.ping(hosts[0], [address]), [])

        endless = hosts[0].popen(["ping", "-q", "-i0.05", address], stdout=DEVNULL)
        self.addCleanup(endless.wait)
        self.addCleanup(endless.kill)
        out = self.command(coordinator, "revoke", "attic")
        self.assertIn(f"attic ({address}) is no member any more", out)
        self.assertEqual(self.status_of(server), 3)
        self.assertIn("was removed from the mesh", server.log.read_text())
        self.until(lambda: not laptop.paths(), "the end of the session")
        lost = hosts[0].popen(["ping", "-q", "-c1", "-w1", address], stdout=DEVNULL)
        self.assertNotEqual(lost.wait(), 0)

        out = self.command(server, "leave")
        self.assertIn("attic has left the mesh", out)
        self.assertFalse((server.state_dir / MEMBERSHIP).exists())
        again = self.mesh.add_peer(hosts[1], f"--join={coordinator.invite()}")
        self.until(lambda: laptop.path_to("server"), "its return")
        self.assertEqual(again.address, address)
        self.assertEqual(self.ping(hosts[0], [address]), [])

        self.command(laptop, "leave")
        self.assertEqual(self.status_of(laptop), 0)
        self.assertFalse((laptop.state_dir / MEMBERSHIP).exists())
        self.assertEqual(self.members(), {"server": True})
        self.until(lambda: not again.paths(), "its absence")
