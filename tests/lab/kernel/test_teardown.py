"""Nothing of a laboratory outlives it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel import World
from tunnelmesh.lab.kernel.namespaces import inhabitants
from tunnelmesh.lab.kernel.record import namespaces, records

from .laboratory import LaboratoryTestCase

ROOT = Path(__file__).parents[3]
"""Where the package under test can be imported from."""

VICTIM = """
import signal, subprocess
from tunnelmesh.lab.kernel import World
with World("victim") as world:
    site = world.add_site("home", "linux")
    # A program that ends only when killed, and its child.
    stubborn = ["sh", "-c", "trap '' TERM; sleep 100 & sleep 100"]
    site.add_host("laptop").popen(stubborn, stdout=subprocess.DEVNULL)
    print(world.prefix, flush=True)
    signal.pause()
"""

BYSTANDER = """
import subprocess
from tunnelmesh.lab.kernel import World
def show():
    look = "cat /proc/sys/net/ipv4/ip_forward; ip -br link; ip rule; ip route; nft list ruleset"
    print(repr(subprocess.check_output(look, shell=True)))
show()
with World() as world:
    site = world.add_site("home", "full-cone", hairpin=True)
    site.add_host("laptop")
    site.lose(1)
    show()
show()
"""


class TeardownTests(LaboratoryTestCase):
    """Worlds that end, well or badly."""

    def victim(self) -> tuple[subprocess.Popen[str], str]:
        """Start a process that holds a world; return it with the world's prefix."""
        process = subprocess.Popen(
            [sys.executable, "-c", VICTIM],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process, process.stdout.readline().strip()

    def assert_gone(self, prefix: str) -> None:
        """Assert that there are no namespaces and no record of a world."""
        self.assertEqual(namespaces(prefix), [])
        self.assertNotIn(prefix, [record.prefix for record in records()])

    def test_programs_end(self) -> None:
        """A world that ends ends its programs, and what they started, and its files."""
        laptop = self.world.add_site("home", "proxy-only").add_host("laptop")
        program = laptop.popen(["sh", "-c", "setsid sleep 100 & exec sleep 100"])
        names = namespaces(self.world.prefix)
        self.assertEqual(len(names), 4)
        self.eventually(lambda: len(inhabitants(names)) >= 3)
        pids = inhabitants(names)
        self.world.down()
        self.assertEqual(program.returncode, -signal.SIGTERM)
        self.assert_gone(self.world.prefix)
        self.assertFalse(self.world.folder.exists())
        self.eventually(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))

    def test_exception(self) -> None:
        """A world that is left by an exception is gone."""
        with self.assertRaises(ZeroDivisionError), World("test") as world:
            world.add_site("home", "linux")
            1 / 0  # noqa: B018
        self.assert_gone(world.prefix)

    def test_signals(self) -> None:
        """SIGINT and SIGTERM end a world in order."""
        victims = [(self.victim(), number) for number in (signal.SIGINT, signal.SIGTERM)]
        for (process, prefix), number in victims:
            self.assertEqual(len(namespaces(prefix)), 4)
            process.send_signal(number)
        for (process, prefix), _number in victims:
            process.wait(10)
            self.assert_gone(prefix)

    def test_killed(self) -> None:
        """A world whose process was killed can be cleared by others, programs and all."""
        process, prefix = self.victim()
        (record,) = [each for each in records() if each.prefix == prefix]
        self.assertTrue(record.alive)
        process.kill()
        process.wait()
        self.assertFalse(record.alive)
        pids = inhabitants(namespaces(prefix))
        self.assertTrue(pids)
        record.clear()
        self.assert_gone(prefix)
        self.eventually(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))

    def test_no_trace_in_the_root_namespace(self) -> None:
        """The namespace that a laboratory is built from keeps its links, routes and settings."""
        # A network namespace of its own stands for the machine's, which others may be changing.
        machine = ["unshare", "-nm", sys.executable, "-c", BYSTANDER]
        found = subprocess.run(machine, capture_output=True, text=True, cwd=ROOT, check=True)
        before, during, after = found.stdout.splitlines()
        self.assertIn("lo", before)
        self.assertEqual((during, after), (before, before))

    def test_names(self) -> None:
        """Names are used once, and are plain."""
        self.world.add_host("kiosk")
        for name in ("kiosk", "coordinator", "A", "a b", "../a", "", "x" * 40):
            self.assertRaises(LabError, self.world.add_host, name)
        self.assertRaises(LabError, World, "a/b")

    def test_bad_sites(self) -> None:
        """An unknown kind or network is refused in words, and leaves nothing behind."""
        before = namespaces(self.world.prefix)
        error = self.assertRaises(LabError, self.world.add_site, "home", "cone")
        self.assertIn("port-restricted", str(error))
        self.assertRaises(LabError, self.world.add_site, "home", "linux", network="10.0.0.1/8")
        self.assertRaises(LabError, self.world.add_site, "home", "linux", network="10.0.0.0/32")
        self.assertEqual(namespaces(self.world.prefix), before)

    def test_a_full_network(self) -> None:
        """A LAN without a free address refuses the next host in words."""
        site = self.world.add_site("home", "linux", network="10.0.0.0/30")
        site.add_host("laptop")
        self.assertRaises(LabError, site.add_host, "server")

    def test_run(self) -> None:
        """A program's failure is an error that names it, unless asked otherwise."""
        host = self.world.coordinator
        self.assertEqual(host.run(["echo", "hello"]).stdout, "hello\n")
        error = self.assertRaises(LabError, host.run, ["sh", "-c", "echo oh >&2; exit 3"])
        self.assertIn("status 3: oh", str(error))
        self.assertEqual(host.run(["false"], check=False).returncode, 1)
        self.assertRaises(LabError, host.run, ["sleep", "9"], timeout=0.1)
