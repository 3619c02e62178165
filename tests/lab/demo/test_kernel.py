"""``tunnelmesh demo`` with real NATs, run as its users run it."""

from __future__ import annotations

import signal
import subprocess

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tunnelmesh.lab.kernel.mesh import TUNNELMESH
from tunnelmesh.lab.kernel.record import namespaces, runtime

REFUSAL = "Real NATs cannot be had here"


class KernelDemoTests(SynchronousTestCase):
    """A story that really happens."""

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Run it; skip the test where there are no real NATs."""
        program = subprocess.Popen(
            [*TUNNELMESH, "demo", "--plain", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(program.communicate)
        self.addCleanup(program.kill)
        assert program.stdout is not None
        first = program.stdout.readline()
        if first.startswith(REFUSAL):
            raise SkipTest(first.strip())
        return program

    def assertGone(self, pid: int) -> None:
        """No namespace and no file of it is left."""
        self.assertEqual(namespaces(f"demo-{pid}"), [])
        self.assertEqual(list(runtime().glob(f"demo-{pid}-*")), [])

    def tell(self, *options: str) -> str:
        """Run it to its good end."""
        program = self.start(*options)
        out, err = program.communicate(timeout=60)
        self.assertEqual((program.returncode, err), (0, ""), out)
        self.assertGone(program.pid)
        return out

    def test_direct(self) -> None:
        """Two cones: direct, the file intact, and direct again after UDP was cut."""
        told = self.tell()
        for part in (
            "relayed by the coordinator over SSH",
            "direct: UDP to 198.51.100.2:",
            "is that of the original",
            "ms of silence",
            "direct again",
            "The file arrived intact",
        ):
            self.assertIn(part, told)

    def test_relayed(self) -> None:
        """Two symmetric NATs: relayed, with the reason in words, and the file intact."""
        told = self.tell("--nat", "symmetric", "symmetric")
        self.assertIn("because both of you are behind symmetric NATs", told)
        self.assertIn("The file arrived intact", told)
        self.assertNotIn("direct: UDP", told)

    def test_interrupted(self) -> None:
        """Ctrl-C in the middle: one word about it, no traceback, and nothing is left."""
        program = self.start()
        assert program.stdout is not None
        while "serves at" not in (line := program.stdout.readline()):
            self.assertTrue(line, "it ended too early")
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=20)
        self.assertEqual((program.returncode, err), (130, ""))
        self.assertIn("Interrupted", out)
        self.assertGone(program.pid)
