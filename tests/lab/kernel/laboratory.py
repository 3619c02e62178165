"""What the tests of the kernel laboratory share."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tunnelmesh.lab.kernel import Host, World, available

HERE = Path(__file__).parent


class LaboratoryTestCase(SynchronousTestCase):
    """A test in a world of its own."""

    def setUp(self) -> None:
        """Build the world, or skip."""
        missing = available()
        if missing:
            raise SkipTest(missing)
        self.world = World("test")
        self.world.__enter__()
        self.addCleanup(self.world.down)

    def correspond(self) -> None:
        """Start the correspondent on the coordinator's machine."""
        coordinator = self.world.coordinator
        program = coordinator.popen(
            [sys.executable, "-IS", str(HERE / "correspondent.py"), *coordinator.addresses],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(program.stdout.close)
        self.assertEqual(program.stdout.readline(), "ready\n")

    def probe(self, *hosts: Host) -> list[dict[str, Any]]:
        """Measure the gateways in front of these hosts, all at once."""
        argv = [sys.executable, "-IS", str(HERE / "prober.py"), *self.world.coordinator.addresses]
        programs = [host.popen(argv, stdout=subprocess.PIPE, text=True) for host in hosts]
        return [json.loads(program.communicate(timeout=20)[0]) for program in programs]

    def python(self, host: Host, program: str, **values: object) -> str:
        """Run a few lines of Python on a host, with *values* as its variables."""
        lines = "".join(f"{name} = {value!r}\n" for name, value in values.items())
        argv = [sys.executable, "-ISc", "import socket, time\n" + lines + program]
        return host.run(argv, timeout=10).stdout.strip()

    def eventually(self, condition: Callable[[], bool], seconds: float = 5.0) -> None:
        """Wait for a condition about other processes."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, "waited in vain")
            time.sleep(0.01)
