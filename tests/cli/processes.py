"""A coordinator on loopback, for tests that run commands as people run them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.cli.ask import ask
from tunnelmesh.errors import NotRunningError
from tunnelmesh.lab.kernel.mesh import TUNNELMESH, TWISTD

SECONDS = 30.0


class ProcessTestCase(SynchronousTestCase):
    """A coordinator, and commands that are run as people run them."""

    coordinator_options: tuple[str, ...] = ()

    def setUp(self) -> None:
        """Start the coordinator on free ports of loopback."""
        self.folder = Path(tempfile.mkdtemp(prefix="tm-up-"))
        self.addCleanup(shutil.rmtree, self.folder)
        ports = [f"--{name}-port=0" for name in ("https", "ssh", "stun")]
        words = ["--role=coordinator", "--public-host=127.0.0.1", *ports]
        words += self.coordinator_options
        self.coordinator = self.folder / "coordinator"
        self.start(*TWISTD, "-n", "--pidfile=", "tunnelmesh", *words, "--state-dir=coordinator")
        self.until(self.serves, "the coordinator")

    def serves(self) -> bool:
        """Whether the coordinator answers."""
        try:
            return bool(ask(self.coordinator, "status"))
        except NotRunningError:
            return False

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a program that ends with the test."""
        program = subprocess.Popen(argv, cwd=self.folder, stdout=subprocess.DEVNULL)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        return program

    def run_here(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a ``tunnelmesh`` command."""
        argv = [*TUNNELMESH, *words]
        return subprocess.run(
            argv, cwd=self.folder, capture_output=True, text=True, timeout=SECONDS
        )

    def token(self) -> str:
        """An invitation."""
        return self.run_here("invite", "--state-dir=coordinator").stdout.strip()

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"waited for {what}, in vain")
            time.sleep(0.05)
