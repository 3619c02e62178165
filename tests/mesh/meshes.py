"""What the tests of the whole share: a mesh in a laboratory."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from subprocess import DEVNULL, PIPE

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel import Host, World, available
from tunnelmesh.lab.kernel.mesh import Mesh, Peer, wait_until

RELAYED = ("ssh", "websocket")
"""The two ends of a relayed path may name it differently: each tells of its own link."""

SERVE = """
import http.server, socketserver, sys
socketserver.TCPServer.allow_reuse_address = True
server = socketserver.TCPServer((sys.argv[1], 80), http.server.SimpleHTTPRequestHandler)
print("ready", flush=True)
server.serve_forever()
"""
"""Serves the files of its folder. The standard library's own would ask the DNS for its name first,
and wait for an answer in vain."""

PATIENCE = 60.0
"""Seconds to wait for programs: many start at once, beside other tests."""


class MeshTestCase(SynchronousTestCase):
    """A test in a world of its own, with a coordinator."""

    def setUp(self) -> None:
        """Build the world and start the coordinator, or skip."""
        missing = available()
        if missing:
            raise SkipTest(missing)
        self.world = World("mesh")
        self.world.__enter__()
        self.addCleanup(self.world.down)
        self.mesh = Mesh(self.world)
        self.mesh.coordinator.start()

    def join(self, hosts: Iterable[Host], *options: str) -> list[Peer]:
        """Start a peer on each host, all at once, and wait until each is linked.

        Behind a proxy the peer is told by the environment, as a user's would be.
        """
        hosts = list(hosts)
        join = f"--join={self.mesh.coordinator.invite(uses=len(hosts))}"
        peers = []
        for host in hosts:
            (proxy, *_) = [s.proxy for s in self.world.sites.values() if host in s.hosts]
            environment = {"https_proxy": proxy} if proxy else {}
            peers.append(self.mesh.add_peer(host, join, *options, **environment))
        for peer in peers:
            self.until(lambda peer=peer: peer.link, f"{peer.name}'s link")
        return peers

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition; if in vain, show what the peers said."""
        try:
            wait_until(condition, what, PATIENCE)
        except LabError as error:
            logs = [f"{p.name}: {p.log.read_text()[-2000:]}" for p in self.mesh.peers.values()]
            self.fail("\n\n".join([str(error), *logs]))

    def ping(self, host: Host, addresses: Iterable[str]) -> list[str]:
        """Ping many at once; return those that do not answer."""
        pings = {
            address: host.popen(["ping", "-q", "-c1", "-w10", address], stdout=DEVNULL)
            for address in addresses
        }
        return [address for address, ping in pings.items() if ping.wait()]

    def fetch(self, client: Peer, server: Peer, size: int = 4_000_000) -> None:
        """Fetch a file by HTTP through the mesh, and compare what came."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        content = os.urandom(size)
        (folder / "file").write_bytes(content)
        serve = [sys.executable, "-ISc", SERVE, server.address]
        program = server.host.popen(serve, cwd=folder, stdout=PIPE, stderr=DEVNULL)
        with program.stdout:
            self.assertEqual(program.stdout.readline(), b"ready\n")
        url = f"http://{server.address}/file"
        curl = ["curl", "-sS", "--fail", "--noproxy", "*", "-o", str(folder / "copy"), url]
        client.host.run(curl, timeout=PATIENCE)
        program.terminate()
        copy = (folder / "copy").read_bytes()
        self.assertEqual(hashlib.sha256(copy).digest(), hashlib.sha256(content).digest())
