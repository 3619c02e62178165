"""Sites with IPv6: public addresses behind a firewall that lets in answers only."""

from __future__ import annotations

import subprocess
import sys

from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel import Host

from .laboratory import LaboratoryTestCase

EXCHANGE = """
import select, socket, sys, time
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.bind(("::", 4000))
print("ready", flush=True)
sys.stdin.readline()
heard = False
until = time.monotonic() + SECONDS
while time.monotonic() < until and not heard:
    udp.sendto(b"hello", (THERE, 4000))
    heard = bool(select.select([udp], [], [], 0.05)[0])
udp.sendto(b"hello", (THERE, 4000))
print("heard" if heard else "silence")
"""
"""One side of a simultaneous punch; neither translates, so they know where the other is."""


class Ipv6Tests(LaboratoryTestCase):
    """Homes with IPv6, and one without."""

    def setUp(self) -> None:
        """Two homes with IPv6 behind the hardest IPv4 there is, and a host in each."""
        super().setUp()
        self.sites = [
            self.world.add_site("a", "symmetric", ipv6=True),
            self.world.add_site("b", "dual-stack"),
        ]
        self.hosts = [site.add_host(f"host-{site.name}") for site in self.sites]

    def hear_each_other(self, *hosts: Host, seconds: float = 2.0) -> bool:
        """Whether two hosts that send at the same moment hear each other."""
        programs = []
        for here, there in (hosts, reversed(hosts)):
            lines = f"THERE = {there.addresses6[0]!r}; SECONDS = {seconds}{EXCHANGE}"
            argv = [sys.executable, "-ISc", lines]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            programs.append(here.popen(argv, **pipes))
        for program in programs:
            self.assertEqual(program.stdout.readline(), "ready\n")
        for program in programs:
            program.stdin.write("go\n")
            program.stdin.flush()
        said = {program.communicate(timeout=10)[0] for program in programs}
        self.assertEqual(len(said), 1, said)
        return said == {"heard\n"}

    def reaches(self, here: Host, address: str) -> bool:
        """Whether a ping gets there and back."""
        return here.run(["ping", "-c1", "-W1", address], check=False).returncode == 0

    def test_firewalls(self) -> None:
        """Hosts reach everybody, nobody reaches them, and two that send at once meet."""
        coordinator = self.world.coordinator
        self.assertEqual(coordinator.addresses6, ["2001:db8::a", "2001:db8::b"])
        laptop, server = self.hosts
        self.assertTrue(self.reaches(laptop, coordinator.addresses6[1]))
        self.assertTrue(self.reaches(laptop, laptop.addresses6[0].rpartition(":")[0] + ":1"))
        self.assertFalse(self.reaches(coordinator, laptop.addresses6[0]))
        self.assertFalse(self.reaches(server, laptop.addresses6[0]))
        self.assertTrue(self.hear_each_other(laptop, server))

    def test_without(self) -> None:
        """A site is without IPv6 unless it is asked for, and a host that moves there loses it."""
        plain = self.world.add_site("plain")
        laptop = self.hosts[0]
        before = laptop.addresses6
        laptop.move_to(plain)
        self.assertEqual(laptop.addresses6, [])
        self.assertEqual(laptop.run(["ip", "-6", "route", "show", "default"]).stdout, "")
        self.assertTrue(self.reaches(laptop, self.world.coordinator.address))
        self.assertRaises(LabError, plain.change, "dual-stack")
        self.assertRaises(LabError, self.world.add_site, "x", ipv6=True, behind=plain)
        laptop.move_to(self.sites[0])
        self.assertNotEqual(laptop.addresses6, before)
        self.assertTrue(self.hear_each_other(*self.hosts))

    def test_changes(self) -> None:
        """Roaming brings another prefix; what is blocked is so for both families."""
        first, _ = self.sites
        laptop, server = self.hosts
        before = laptop.addresses6
        first.roam()
        self.assertNotEqual(laptop.addresses6, before)
        first.block(udp=True)
        self.assertFalse(self.hear_each_other(laptop, server, seconds=0.3))
        first.change("full-cone")
        self.assertFalse(self.hear_each_other(laptop, server, seconds=0.3))
        first.unblock()
        self.assertTrue(self.hear_each_other(laptop, server))
        first.lose(100)
        self.assertFalse(self.hear_each_other(laptop, server, seconds=0.3))
        first.lose(0)
        first.change("firewall")
        self.assertTrue(self.hear_each_other(laptop, server))
        first.change("symmetric")
        self.assertTrue(self.hear_each_other(laptop, server))
