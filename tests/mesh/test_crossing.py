"""A machine with a device reaches one without, as any program does: real kernels, real programs."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE

from tests.mesh.meshes import SERVE, MeshTestCase

ECHO = """
import socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        said = b""
        while data := self.request.recv(65536):
            said += data
        self.request.sendall(said[::-1])
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 200
server = Server(("127.0.0.1", 7777), Echo)
print("ready", flush=True)
server.serve_forever()
"""
"""Answers with all that it was told, backwards, once it has been told that it is all."""

MANY = """
import os, socket, sys
sockets = [socket.create_connection((sys.argv[1], 7777), 20) for _ in range(100)]
said = [os.urandom(3000) for _ in sockets]
for each, data in zip(sockets, said):
    each.sendall(data)
    each.shutdown(socket.SHUT_WR)
for each, data in zip(sockets, said):
    heard = b""
    while part := each.recv(65536):
        heard += part
    assert heard == data[::-1], "mixed up"
print("done")
"""
"""Opens a hundred connections to the echo, and uses them all at once."""


class CrossingTests(MeshTestCase):
    """One with a device, one without, behind NATs."""

    def setUp(self) -> None:
        """They have met, and the second exposes ports; of these a few are served."""
        super().setUp()
        home = self.world.add_site("home", "port-restricted").add_host("laptop")
        self.site = self.world.add_site("lab", "full-cone")
        [self.laptop] = self.join([home])
        [self.server] = self.join(
            [self.site.add_host("server")], "--mode=userspace", "--expose=80,7777,9999"
        )
        self.until(lambda: self.laptop.path_to("server") == "udp", "a direct path")

    @property
    def address6(self) -> str:
        """The server's IPv6 mesh address."""
        return str(self.server.status()["address6"])

    def serve(self, content: bytes) -> Path:
        """Serve a file on the server's port 80; return where there is room for a copy."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "file").write_bytes(content)
        argv = [sys.executable, "-ISc", SERVE, "127.0.0.1"]
        self.ready(argv, folder)
        return folder / "copy"

    def ready(self, argv: list[str], folder: Path | None = None) -> None:
        """Start a service on the server, and wait until it serves."""
        program = self.server.host.popen(argv, cwd=folder, stdout=PIPE, stderr=DEVNULL)
        assert program.stdout is not None
        with program.stdout:
            self.assertEqual(program.stdout.readline(), b"ready\n")

    def test_programs(self) -> None:
        """``ping``, ``curl`` and ``nc`` work by IPv4 and IPv6, and hear at once if they cannot."""
        address, address6 = self.server.address, self.address6
        self.assertEqual(self.ping(self.laptop.host, [address, address6]), [])

        content = os.urandom(300_000)
        copy = self.serve(content)
        for host in (address, f"[{address6}]"):
            url = f"http://{host}/file"
            curl = ["curl", "-sS", "--fail", "--noproxy", "*", "-o", str(copy), url]
            self.laptop.host.run(curl, timeout=20)
            self.assertEqual(copy.read_bytes(), content)

        self.ready([sys.executable, "-ISc", ECHO])
        said = self.laptop.host.run(["nc", "-N", "-w10", address, "7777"], input="abc", timeout=20)
        self.assertEqual(said.stdout, "cba")
        many = [sys.executable, "-ISc", MANY, address]
        self.assertEqual(self.laptop.host.run(many, timeout=60).stdout, "done\n")

        for host, port in ((address, "9999"), (address6, "9999"), (address, "4444")):
            began = time.monotonic()
            said = self.laptop.host.run(["nc", "-vz", host, port], check=False, timeout=20)
            self.assertIn("refused", said.stderr)
            self.assertLess(time.monotonic() - began, 3.0)
        said = self.laptop.host.run(["nc", "-vzu", "-w3", address, "53"], check=False, timeout=20)
        self.assertTrue(said.returncode, "UDP got somewhere")

        self.server.kill()
        began = time.monotonic()
        said = self.laptop.host.run(["nc", "-vz", address, "80"], check=False, timeout=20)
        self.assertIn("No route to host", said.stderr)
        self.assertLess(time.monotonic() - began, 4.0)

    def test_much_while_the_path_changes(self) -> None:
        """A large file arrives whole, though the path beneath goes away and comes back."""
        content = os.urandom(30_000_000)
        copy = self.serve(content)
        url = f"http://{self.server.address}/file"
        limit = ["--limit-rate", "6M"]
        curl = ["curl", "-sS", "--fail", "--noproxy", "*", *limit, "-o", str(copy), url]
        program = self.laptop.host.popen(curl)
        self.until(lambda: copy.exists() and copy.stat().st_size > 3_000_000, "the first part")
        self.site.block(udp=True)
        self.until(lambda: self.laptop.path_to("server") in ("ssh", "websocket"), "the relay")
        self.site.unblock()
        self.until(lambda: self.laptop.path_to("server") == "udp", "the direct path")
        self.assertIsNone(program.poll(), "the file came before the path was back")
        self.assertEqual(program.wait(60), 0)
        self.assertEqual(
            hashlib.sha256(copy.read_bytes()).digest(), hashlib.sha256(content).digest()
        )
