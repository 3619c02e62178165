"""miniupnpd: a real router for all three ways of asking for a port."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.counterparts.miniupnpd import PUBLIC, Miniupnpd, require
from tunnelmesh.lab.kernel import World, available, world
from tunnelmesh.lab.kernel.mesh import wait_until
from tunnelmesh.wire.endpoint import Endpoint

LANGUAGES = ("PCP", "NAT-PMP", "UPnP-IGD")

CALL = """
import socket, sys
caller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
caller.settimeout(3)
caller.sendto(b"hello", (sys.argv[1], int(sys.argv[2])))
print(*caller.recvfrom(100))
"""


class MiniupnpdTests(SynchronousTestCase):
    """Behind a symmetric NAT whose router maps ports."""

    def setUp(self) -> None:
        """Build the world, or skip."""
        require()
        missing = available()
        if missing:
            raise SkipTest(missing)
        self.patch(world, "ACCESS", PUBLIC)
        self.world = World("portmap")
        self.world.__enter__()
        self.addCleanup(self.world.down)
        self.site = self.world.add_site("home", "symmetric")
        self.laptop = self.site.add_host("laptop")
        self.router = Miniupnpd(self.site, self.world.folder)

    def ask(self, language: str) -> subprocess.Popen[str]:
        """Start a program that asks for a port in one language only."""
        argv = [sys.executable, "-m", "tests.counterparts.port_mapper", language]
        program = self.laptop.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(program.stdout.close)
        self.addCleanup(program.stdin.close)
        return program

    def told(self, program: subprocess.Popen[str]) -> dict[str, Any]:
        """What the program has next to say."""
        return json.loads(program.stdout.readline())

    def test_all_languages(self) -> None:
        """In each, a port is mapped, lets in a stranger's datagram, and is given back."""
        programs = {language: self.ask(language) for language in LANGUAGES}
        stranger = self.world.add_host("stranger")
        for language, program in programs.items():
            told = self.told(program)
            external = Endpoint.parse(told["external"])
            self.assertEqual((told["protocol"], external.host), (language, self.site.outside))
            self.assertTrue(3000 < told["lifetime_s"] <= 3600)
            self.assertIn(f"dport {external.port} dnat", self.router.rules)
            called = stranger.run([sys.executable, "-c", CALL, external.host, str(external.port)])
            self.assertEqual(called.stdout, f"b'hello' {tuple(external)}\n")
        for program in programs.values():
            program.stdin.close()
        self.assertEqual([program.wait(10) for program in programs.values()], [0, 0, 0])
        self.assertNotIn("dnat", self.router.rules)

    def test_restart_of_the_router(self) -> None:
        """A router that comes back without its mappings says so, and gets them again at once."""
        program = self.ask("PCP")
        port = Endpoint.parse(self.told(program)["external"]).port
        running = time.monotonic() + 4  # a clock that goes back by less means nothing yet
        wait_until(lambda: time.monotonic() > running, "the router to be up for a while")
        self.router.kill()
        self.router.start()
        self.assertNotIn("dnat", self.router.rules)
        wait_until(lambda: f"dport {port} dnat" in self.router.rules, "the mapping", 15)
