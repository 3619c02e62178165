"""Scraping both roles as Prometheus does, and what its own tools say of the result."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.cli.processes import SECONDS, ProcessTestCase
from tunnelmesh.lab.kernel.mesh import TWISTD

HOW_TO = Path(__file__).parent.parent.parent / "docs" / "howto" / "metrics.md"


def promtool(*words: str, page: bytes | None = None) -> None:
    """Let Prometheus' own tool check something."""
    if shutil.which("promtool") is None:
        raise SkipTest("promtool is not installed (Debian: prometheus)")
    done = subprocess.run(["promtool", *words], input=page, capture_output=True)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ScrapeTests(ProcessTestCase):
    """A coordinator and a peer, on loopback."""

    def setUp(self) -> None:
        """Choose the coordinator's port."""
        self.port = free_port()
        self.coordinator_options = (f"--metrics={self.port}",)
        super().setUp()

    def get(self, port: int, path: str = "/metrics", **headers: str) -> tuple[int, bytes]:
        """Status and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body

    def test_both_roles(self) -> None:
        """Both give what promtool finds no fault with; a peer elsewhere only with its token."""
        port = free_port()
        words = [f"--metrics=0.0.0.0:{port}", "--mode=userspace", "--name=laptop"]
        up = self.run_here("up", "-d", self.token(), "--state-dir=peer", *words)
        self.assertEqual(up.stderr, "")
        self.addCleanup(self.run_here, "down", "--state-dir=peer")

        self.assertEqual(self.get(port)[0], 401)
        self.assertEqual(self.get(port, Authorization="Bearer wrong")[0], 401)
        secret = self.run_here("metrics", "--token", "--state-dir=peer").stdout.strip()
        file = self.folder / "peer" / "metrics.token"
        self.assertEqual((file.stat().st_mode & 0o777, file.read_text().strip()), (0o600, secret))
        status, peer = self.get(port, Authorization=f"Bearer {secret}")
        self.assertEqual(status, 200)
        self.assertIn(b'tunnelmesh_build_info{role="peer",version=', peer)

        status, coordinator = self.get(self.port)
        self.assertEqual(status, 200)
        self.assertIn(b"tunnelmesh_members 1.0\n", coordinator)
        self.assertEqual(self.get(self.port, "/")[0], 404)
        self.assertEqual(self.get(self.port, Host="evil.example")[0], 403)

        printed = self.run_here("metrics", "--state-dir=peer").stdout
        names = re.compile(r"^# TYPE .*$", re.M)
        self.assertEqual(names.findall(printed), names.findall(peer.decode()))
        for page in (peer, coordinator):
            promtool("check", "metrics", page=page)

    def test_refusals(self) -> None:
        """A port that is in use is one clear line and status 1; a token that is not needed is not
        made, and that is said."""
        words = ["--role=peer", f"--join={self.token()}", f"--metrics={self.port}"]
        done = subprocess.run(
            [*TWISTD, "-n", "--pidfile=", "tunnelmesh", *words, "--state-dir=peer"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"TCP 127.0.0.1:{self.port} cannot be used for --metrics", done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)
        asked = self.run_here("metrics", "--token", "--state-dir=coordinator")
        self.assertEqual(asked.returncode, 1)
        self.assertIn("it is made when", asked.stderr)


class ExampleTests(SynchronousTestCase):
    """What the how-to shows."""

    def test_rules(self) -> None:
        """Prometheus takes the rules of the how-to."""
        [rules] = re.findall(r"```yaml\n(# tunnelmesh\.rules.*?)```", HOW_TO.read_text(), re.S)
        path = Path(self.mktemp())
        path.write_text(rules)
        promtool("check", "rules", str(path))
