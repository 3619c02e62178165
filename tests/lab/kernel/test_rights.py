"""Who may have a laboratory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import tunnelmesh
from tunnelmesh.lab.kernel import available

NOBODY = 65534

SH = ("sh", "-c", 'exec "$@"', "sh")
"""What setpriv itself starts may lie where only root can look; what a shell starts may not."""

BUILD = """
from tunnelmesh.lab.kernel import World, available
from tunnelmesh.lab.kernel.record import runtime
assert available() is None, available()
with World() as world:
    home = world.add_site("home", "full-cone")
    laptop = home.add_host("laptop")
    laptop.run(["ping", "-c1", "-W1", world.coordinator.address])
    home.change("proxy-auth")
    home.roam()
    home.change("symmetric")
    laptop.run(["ping", "-c1", "-W1", world.coordinator.address])
    print(runtime())
"""


class UnprivilegedTests(SynchronousTestCase):
    """The user ``nobody``."""

    def setUp(self) -> None:
        """Put the package, and find a Python, where ``nobody`` can read them."""
        if os.geteuid() != 0:
            raise SkipTest("not root: cannot become another user")
        missing = available()
        if missing:
            raise SkipTest(missing)
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(
            Path(tunnelmesh.__file__).parent, self.folder / "tunnelmesh", ignore=ignored
        )
        self.folder.chmod(0o755)
        # The laboratory needs nothing but the standard library.
        for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
            if self.as_nobody(python, "-c", "import sys; assert sys.version_info >= (3, 11)")[0]:
                self.python = python
                return
        raise SkipTest("no Python 3.11 that the user nobody may run")

    def as_nobody(self, *argv: str) -> tuple[bool, str]:
        """Run a command as an ordinary user; return whether it succeeded, and what it said."""
        done = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *SH, *argv],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode == 0, done.stdout + done.stderr

    def test_not_available(self) -> None:
        """An ordinary user is told what is missing."""
        program = "from tunnelmesh.lab.kernel import available; print(available())"
        ran, said = self.as_nobody(self.python, "-c", program)
        self.assertTrue(ran, said)
        self.assertIn("not root", said)

    def test_launcher(self) -> None:
        """Through the launcher, an ordinary user builds and changes a laboratory."""
        launcher = [self.python, "-m", "tunnelmesh.lab.kernel"]
        ran, said = self.as_nobody(*launcher, self.python, "-c", BUILD)
        self.assertTrue(ran, said)
        self.assertIn(f"tunnelmesh-lab-{NOBODY}", said)

    def test_reenter(self) -> None:
        """A program that re-enters goes on as root of its own user namespace."""
        program = "from tunnelmesh.lab.kernel import reenter; reenter()" + BUILD
        ran, said = self.as_nobody(self.python, "-c", program)
        self.assertTrue(ran, said)

    def test_launcher_usage(self) -> None:
        """The launcher needs a command, and says when there is none of that name."""
        ran, said = self.as_nobody(self.python, "-m", "tunnelmesh.lab.kernel")
        self.assertFalse(ran)
        self.assertIn("usage", said)


class MissingTests(SynchronousTestCase):
    """Machines that lack something."""

    def test_a_command(self) -> None:
        """A missing command is named, with the package that has it."""
        program = (
            "from tunnelmesh.lab.kernel import namespaces\n"
            "namespaces.ADMINISTRATION = ''\n"
            "from tunnelmesh.lab.kernel import available\n"
            "print(available())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PATH": "/nowhere", "PYTHONPATH": str(Path(tunnelmesh.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertIn("'ip' is missing (Debian: apt install iproute2)", done.stdout)
