"""``tunnelmesh up`` and ``tunnelmesh down``, with real processes that meet on loopback."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import SECONDS, ProcessTestCase
from tunnelmesh.cli import background, options
from tunnelmesh.config import CoordinatorConfig, PeerConfig, settings
from tunnelmesh.errors import TunnelMeshError
from tunnelmesh.lab.kernel.mesh import TUNNELMESH


class OptionsTests(SynchronousTestCase):
    """A role's settings as options."""

    def test_complete(self) -> None:
        """Every setting of a role is an option, and comes out as it was given."""
        for role in (PeerConfig, CoordinatorConfig):
            parser = ArgumentParser()
            options.add_settings(parser, role)
            told = {
                name: "7" if setting.metadata["metavar"] else True
                for name, setting in settings(role).items()
            }
            args = parser.parse_args(options.words(told))
            self.assertEqual(options.given(args, role), told)
            self.assertEqual(options.given(parser.parse_args([]), role), {})


class BackgroundTests(ProcessTestCase):
    """Without a terminal."""

    def test_up_and_down(self) -> None:
        """A peer is linked when ``up --detach`` returns, and gone when ``down`` does; its log
        goes to no place that a link leads to."""
        here = ["--state-dir=peer", "--mode=userspace"]
        victim = self.folder / "victim"
        victim.touch()
        (self.folder / "peer").mkdir(mode=0o700)
        (self.folder / "peer" / "tunnelmesh.log").symlink_to(victim)
        up = self.run_here("up", "--detach", self.token(), *here, "--name=laptop")
        self.assertEqual((up.returncode, up.stderr), (0, ""))
        self.assertRegex(up.stdout, r"^laptop \(100\.96\.0\.1\) runs, linked by (ssh|websocket); ")
        self.assertEqual(victim.read_text(), "")
        pid = int((self.folder / "peer" / "tunnelmesh.pid").read_text())
        self.addCleanup(lambda: os.path.exists(f"/proc/{pid}") and os.kill(pid, signal.SIGKILL))

        again = self.run_here("up", "-d", *here)
        self.assertEqual((again.returncode, again.stdout), (1, ""))
        self.assertIn("already running with the state directory", again.stderr)

        down = self.run_here("down", "--state-dir=peer")
        self.assertEqual((down.returncode, down.stdout), (0, "the peer has ended\n"))
        self.until(lambda: not (self.folder / "peer" / "tunnelmesh.pid").exists(), "its end")

        down = self.run_here("down", "--state-dir=peer")
        self.assertEqual(down.returncode, 1)
        self.assertIn("no TunnelMesh is running", down.stderr)

        up = self.run_here("up", "-d", *here)
        self.assertEqual((up.returncode, up.stderr), (0, ""))
        self.assertEqual(self.run_here("down", "--state-dir=peer").returncode, 0)

        down = self.run_here("down", "--state-dir=coordinator")
        self.assertEqual((down.returncode, down.stdout), (0, "the coordinator has ended\n"))

    def test_cannot(self) -> None:
        """What keeps a peer from running is told in its own words, in one line; a setting that
        cannot be is wrong usage, before anything starts."""
        for words, complaint in (
            ([], "has not joined a mesh yet: run 'tunnelmesh invite'"),
            (["tm1:AAAA"], "mistyped or cut off"),
            (["tm1:AAAA", "--user=no-such-user"], "there is no user 'no-such-user'"),
        ):
            up = self.run_here("up", "--detach", "--state-dir=other", *words)
            self.assertEqual((up.returncode, up.stdout), (1, ""))
            self.assertIn(complaint, up.stderr)
            self.assertEqual(up.stderr.count("\n"), 1)

        up = self.run_here("up", "-d", "--state-dir=third", "--udp-port=x")
        self.assertEqual(up.returncode, 2)
        self.assertIn("--udp-port must be a port", up.stderr)
        self.assertFalse((self.folder / "third").exists())


class DetachTests(SynchronousTestCase):
    """What becomes of a program that is left in the background."""

    def detach(self, program: str) -> str:
        """What is complained of."""
        self.patch(background, "PATIENCE", 0.5)
        state = Path(self.mktemp()).absolute()
        argv = [sys.executable, "-ISc", program]
        return str(self.assertRaises(TunnelMeshError, background.detach, argv, state))

    def test_no_link(self) -> None:
        """One that has no link goes on, which is said."""
        told = self.detach("import time; time.sleep(2)")
        self.assertIn("no link to the coordinator in", told)
        self.assertIn("goes on trying in the background", told)

    def test_ended(self) -> None:
        """One that ends is quoted: its own line, whatever came before."""
        program = "import sys; sys.exit('noise\\ntunnelmesh: there is no room')"
        self.assertEqual(self.detach(program), "there is no room")

    def test_ended_silently(self) -> None:
        """One that ends without a word is said to."""
        self.assertEqual(self.detach(""), "it ended without a word")


class TerminalTests(ProcessTestCase):
    """On a terminal."""

    def test_progress(self) -> None:
        """What happens is told in short lines, with colours unless NO_COLOR is set."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        words = ["up", self.token(), "--state-dir=peer", "--mode=userspace", "--name=laptop"]
        peer = subprocess.Popen(
            [*TUNNELMESH, *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            env=os.environ | {"NO_COLOR": "1", "TERM": "xterm"},
        )
        self.addCleanup(peer.wait)
        self.addCleanup(peer.kill)
        os.close(theirs)
        seen = b""
        while b"linked to the coordinator" not in seen:
            seen += os.read(ours, 4096)
        text = seen.decode()
        self.assertIn("laptop is starting; Ctrl-C ends it.", text)
        self.assertRegex(text, r"\d\d:\d\d:\d\d joined as laptop, 100\.96\.0\.1")
        self.assertNotIn("\x1b", text)
        self.assertNotIn("twistd", text)
        peer.send_signal(signal.SIGINT)
        self.assertIn(peer.wait(SECONDS), (0, -signal.SIGINT))
