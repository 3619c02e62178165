"""The proxies of a machine without a network device, used by real programs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE

from twisted.trial.unittest import SkipTest

from tests.mesh.meshes import PATIENCE, SERVE, MeshTestCase
from tunnelmesh.lab.kernel.mesh import Peer

PAGE = """<!doctype html><title>home</title><p id="here">no</p>
<script>fetch("/more").then(a => a.text()).then(t => document.getElementById("here").innerText = t)
</script>"""

SOCKS = ["--socks5-hostname", "127.0.0.1:1080"]
HTTP = ["--proxy", "http://127.0.0.1:3128"]


class ProxyTests(MeshTestCase):
    """A laptop's programs reach a server at home; neither machine has a network device."""

    def setUp(self) -> None:
        """Both join, and the server serves a page, on its loopback only."""
        super().setUp()
        home = self.world.add_site("home", "port-restricted").add_host("homelab")
        away = self.world.add_site("office", "restricted-cone").add_host("laptop")
        (self.homelab,) = self.join([home], "--mode=userspace", "--expose=8080=127.0.0.1:80")
        options = ("--mode=userspace", "--socks=1080", "--http-proxy=3128")
        (self.laptop,) = self.join([away], *options)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "index.html").write_text(PAGE)
        (self.folder / "more").write_text("it is here")
        serve = [sys.executable, "-ISc", SERVE, "127.0.0.1"]
        program = home.popen(serve, cwd=self.folder, stdout=PIPE, stderr=DEVNULL)
        with program.stdout:
            self.assertEqual(program.stdout.readline(), b"ready\n")
        self.until(lambda: self.laptop.path_to("homelab"), "a path")

    def curl(self, *argv: str, status: int = 0) -> str:
        """Run curl on the laptop.

        :returns: what it says on standard output, or on standard error if it fails as expected.
        """
        curl = ["curl", "-sS", "--max-time", "20", *argv]
        done = self.laptop.host.run(curl, check=False, timeout=PATIENCE)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stderr if status else done.stdout

    def test_programs(self) -> None:
        """curl gets through in every way, and a browser; a second peer is told of its port."""
        self.check_curl()
        self.check_taken()
        self.check_browser()

    def check_curl(self) -> None:
        """By SOCKS5 and by HTTP, with and without CONNECT, by name and by address."""
        address = self.homelab.address
        for host in ("homelab.mesh", "homelab", address):
            for way in (SOCKS, HTTP, ["--proxytunnel", *HTTP]):
                said = self.curl(*way, f"http://{host}:8080/more")
                self.assertEqual(said, "it is here", (host, way))
        self.assertIn("(4)", self.curl(*SOCKS, "http://example.org/", status=97))
        self.assertIn("(5)", self.curl(*SOCKS, "http://homelab.mesh:22/", status=97))
        said = self.curl(*HTTP, "http://example.org/")
        self.assertIn("no peer 'example.org' in the mesh", said)
        self.assertIn("homelab", self.curl(*HTTP, "http://homelab.mesh:22/"))
        listen = self.laptop.status()["listen"]
        self.assertEqual(listen, {"socks": "127.0.0.1:1080", "http_proxy": "127.0.0.1:3128"})

    def check_browser(self) -> None:
        """A browser that is told of the PAC file shows a peer's page by name, with its script."""
        chromium = shutil.which("chromium")
        if chromium is None:
            raise SkipTest("there is no chromium")
        browse = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={self.folder / 'profile'}",
            "--proxy-pac-url=http://127.0.0.1:3128/proxy.pac",
            "--virtual-time-budget=5000",
            "--dump-dom",
            "http://homelab.mesh:8080/",
        ]
        done = self.laptop.host.run(browse, timeout=PATIENCE)
        self.assertIn('<p id="here">it is here</p>', done.stdout)

    def check_taken(self) -> None:
        """A port that is taken ends the start in one line that says what to do."""
        host = self.laptop.host
        other = Peer(
            host,
            "other",
            self.mesh.folder,
            [
                "--role=peer",
                "--mode=userspace",
                "--name=other",
                f"--join={self.mesh.coordinator.invite()}",
                "--socks=1080",
            ],
        )
        other.start()
        assert other.process is not None
        self.assertEqual(other.process.wait(PATIENCE), 1)
        said = other.log.read_text()
        self.assertIn("tunnelmesh: cannot listen on 127.0.0.1 port 1080", said)
        self.assertNotIn("Traceback", said)
