"""The ``tunnelmesh lab`` command, as a user types it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tunnelmesh.lab.kernel import KINDS, available
from tunnelmesh.lab.kernel.namespaces import NAMED

ROOT = Path(__file__).parents[3]

COMMAND = """
import argparse, sys
from tunnelmesh.cli import lab
parser = argparse.ArgumentParser("tunnelmesh")
lab.add_parser(parser.add_subparsers())
args = parser.parse_args()
sys.exit(args.run(args))
"""


class CommandTests(SynchronousTestCase):
    """One laboratory in the foreground, and other invocations that find it."""

    def setUp(self) -> None:
        """Keep apart from other laboratories of this machine's user."""
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.env = {**os.environ, "TMPDIR": self.folder.name}

    def argv(self, *words: str) -> list[str]:
        """Return the command line."""
        return [sys.executable, "-c", COMMAND, "lab", *words]

    def lab(self, *words: str) -> tuple[int, str, str]:
        """Run ``tunnelmesh lab`` to its end."""
        done = subprocess.run(
            self.argv(*words), env=self.env, cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def up(self, *kinds: str) -> subprocess.Popen[str]:
        """Start a laboratory and wait until it is there."""
        missing = available()
        if missing:
            raise SkipTest(missing)
        process = subprocess.Popen(
            self.argv("up", *kinds), env=self.env, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.terminate)
        for line in process.stdout:
            if "Ctrl-C" in line:
                return process
        return self.fail("no laboratory")

    def test_kinds(self) -> None:
        """The kinds are listed, one a line."""
        status, out, _ = self.lab("kinds")
        self.assertEqual(status, 0)
        self.assertEqual([line.split()[0] for line in out.splitlines()[1:]], list(KINDS))

    def test_nothing_runs(self) -> None:
        """Without a laboratory, one line says how to get one; clearing up is no error."""
        status, out, err = self.lab("show")
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(len(err.splitlines()), 1)
        self.assertIn("lab up", err)
        self.assertEqual(self.lab("down"), (0, "", ""))

    def test_usage(self) -> None:
        """An unknown kind is a mistake of usage."""
        self.assertEqual(self.lab("up", "cone", "open")[0], 2)

    def test_session(self) -> None:
        """A laboratory is entered, changed, looked at and ended from other terminals."""
        process = self.up("linux", "web-only")
        status, out, err = self.lab("exec", "laptop", "--", "sh", "-c", "echo here; exit 7")
        self.assertEqual((status, out, err), (7, "here\n", ""))
        self.assertIn("symmetric", self.lab("change", "home", "symmetric")[1])
        self.assertIn("blocks UDP", self.lab("block", "home", "udp")[1])
        self.assertIn("TCP 2222", self.lab("block", "home", "tcp:2222")[1])
        self.assertNotIn("blocks", self.lab("unblock", "home")[1])
        self.assertIn("198.51.100.3", self.lab("roam", "home")[1])
        self.assertEqual(self.lab("lose", "home", "5")[0], 0)
        self.assertIn("└─ laptop", self.lab("move", "laptop", "office")[1])
        for wrong in (
            ("change", "home", "cone"),
            ("change", "moon", "open"),
            ("block", "home", "tcp:no"),
            ("lose", "home", "most"),
            ("exec", "moon"),
        ):
            status, out, err = self.lab(*wrong)
            self.assertEqual((status, out, len(err.splitlines())), (1, "", 1), wrong)
        self.assertEqual(self.lab("down")[0], 0)
        self.assertEqual(process.wait(5), 128 + signal.SIGTERM)

    def test_interrupted(self) -> None:
        """Ctrl-C ends it, with success and without a trace."""
        process = self.up("open", "proxy-auth")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(10), 0)
        self.assertEqual([path for path in NAMED.iterdir() if f"-{process.pid}-" in path.name], [])

    def test_killed(self) -> None:
        """After a kill, ``lab down`` clears up."""
        process = self.up("open", "linux")
        process.kill()
        process.wait()
        self.assertEqual(self.lab("show")[0], 1)
        self.assertIn(str(process.pid), self.lab("down")[1])
        self.assertEqual([path for path in NAMED.iterdir() if f"-{process.pid}-" in path.name], [])
