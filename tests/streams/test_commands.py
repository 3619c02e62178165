"""``nc`` and ``forward`` between real peers that have no rights, in the kernel laboratory."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE
from threading import Timer
from typing import Any

from twisted.trial.unittest import SkipTest

from bench.streams import serve
from tests.resilience.laboratory import ResilienceTestCase
from tunnelmesh.lab.kernel import Host, Site
from tunnelmesh.lab.kernel.mesh import TUNNELMESH, Peer, wait_until

POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
"""Before a program: it has no capabilities, as an ordinary user's has none."""

SERVICE = 9
SSH = 2222
SECONDS = 60.0
"""Patience with programs, beside other tests."""

PAYLOAD = os.urandom(1 << 20)


class Powerless(Peer):
    """A peer without any rights."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._argv = [*POWERLESS, *self._argv]


class CommandTests(ResilienceTestCase):
    """Two peers that may not have a device, behind two gateways; one opens ports of its own."""

    def setUp(self) -> None:
        super().setUp()
        if shutil.which("setpriv") is None:
            raise SkipTest("no setpriv (package util-linux)")
        self.home = self.world.add_site("home", "port-restricted")
        self.office = self.world.add_site("office", "port-restricted")
        self.laptop = self.powerless(self.home, "laptop")
        expose = f"--expose={SERVICE},22=127.0.0.1:{SSH}"
        self.server = self.powerless(self.office, "server", expose)
        serve(self.server.host)
        self.until_direct(self.laptop, self.server)

    def powerless(self, site: Site, name: str, *options: str) -> Peer:
        """Put a machine on a site's LAN, and start a peer without rights on it."""
        host = site.add_host(name)
        words = ["--role=peer", f"--name={name}", f"--join={self.token}", *options]
        peer = Powerless(host, name, self.mesh.folder, words)
        self.mesh.peers[name] = peer
        peer.start()
        return peer

    def nc(self, peer: Peer, *words: str, send: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run ``tunnelmesh nc``."""
        argv = [*TUNNELMESH, "nc", f"--state-dir={peer.state_dir}", *words]
        return subprocess.run(argv, input=send, capture_output=True, timeout=SECONDS, check=False)

    def fails(self, peer: Peer, *words: str, saying: str) -> None:
        """It ends soon, with one clear line."""
        started = time.monotonic()
        done = self.nc(peer, *words)
        self.assertLess(time.monotonic() - started, 5)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
        self.assertIn(saying, done.stderr.decode())

    def hashed(self, peer: Peer, host: str) -> None:
        """What is sent arrives, and what is answered after its end comes back."""
        done = self.nc(peer, host, str(SERVICE), send=b"D" + PAYLOAD)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(done.stdout, hashlib.sha256(PAYLOAD).digest())

    def test_commands(self) -> None:
        """``nc`` and ``forward`` carry bytes both ways; what cannot be is said in one line."""
        self.forward()
        self.with_device()
        self.nc_says()

    def nc_says(self) -> None:
        """Bytes go both ways, with half-close, or there is one line."""
        self.assertEqual(self.laptop.status()["mode"], "userspace")
        self.hashed(self.laptop, "server")
        self.hashed(self.laptop, "server.mesh")
        self.fails(self.laptop, "nobody", "22", saying="no peer 'nobody'")
        self.fails(self.laptop, "server", "22", saying="nothing answers on port 22 of server")
        self.fails(self.laptop, "server", "80", saying="--expose=80")
        self.server.stop()
        wait_until(lambda: not self.laptop.path_to("server"), "the path to end")
        self.fails(self.laptop, "server", "22", saying="server is offline (last seen")
        self.laptop.stop()
        self.fails(self.laptop, "server", "22", saying="tunnelmesh up")

    def with_device(self) -> None:
        """A peer with a device and one without reach each other."""
        desk = self.join(self.home, "desk", "--mode=tun", "--tun-name=tm0")
        serve(desk.host, "0.0.0.0")
        for one, other in ((desk, self.server), (self.laptop, desk)):
            self.until_path(one, other)
            self.hashed(one, other.name)

    def forward(self) -> None:
        """A port of the peer is one of this machine's, for many connections at once."""
        argv = [*TUNNELMESH, "forward", f"--state-dir={self.laptop.state_dir}"]
        words = ["0", "server", str(SERVICE), "0", "server", "80"]
        program = subprocess.Popen([*argv, *words], stdout=PIPE, stderr=PIPE)
        self.addCleanup(program.wait)
        self.addCleanup(program.terminate)
        assert program.stdout is not None
        assert program.stderr is not None
        self.addCleanup(program.stdout.close)
        self.addCleanup(program.stderr.close)
        ports = []
        for port in (SERVICE, 80):
            said = program.stdout.readline().decode()
            self.assertIn(f"leads to server port {port}", said)
            ports.append(int(said.split()[0].rpartition(":")[2]))
        connections = [socket.create_connection(("127.0.0.1", ports[0])) for _ in range(30)]
        for connection in connections:
            connection.sendall(b"D" + PAYLOAD[:100_000])
        for connection in connections:
            connection.shutdown(socket.SHUT_WR)
        for connection in connections:
            with connection, connection.makefile("rb") as answer:
                self.assertEqual(answer.read(), hashlib.sha256(PAYLOAD[:100_000]).digest())
        with socket.create_connection(("127.0.0.1", ports[1])) as refused:
            self.assertRaises(ConnectionResetError, refused.recv, 1)
        self.assertIn("--expose=80", program.stderr.readline().decode())
        taken = subprocess.run(
            [*argv, str(ports[0]), "server", "9"], capture_output=True, check=False, timeout=SECONDS
        )
        self.assertEqual(taken.returncode, 1)
        self.assertIn(f"cannot listen on 127.0.0.1 port {ports[0]}", taken.stderr.decode())

    def test_ssh(self) -> None:
        """OpenSSH copies through ``nc`` while the path under it is switched; no bit is lost."""
        self.sshd(self.server.host)
        before = len(self.laptop.ask("history", peer="server"))
        content = os.urandom(4 << 20) * 12
        command = shlex.join([*TUNNELMESH, "nc", f"--state-dir={self.laptop.state_dir}"])
        options = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR"]
        proxy = f"ProxyCommand={command} %h %p"
        for after, change in ((0.3, lambda: self.office.block(udp=True)), (3, self.office.unblock)):
            timer = Timer(after, change)
            timer.start()
            self.addCleanup(timer.join)
        done = subprocess.run(
            ["ssh", "-F/dev/null", f"-i{self.keys}/client", f"-o{proxy}"]
            + [f"-o{option}" for option in options]
            + ["root@server", "sha256sum"],
            input=content,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.split()[0].decode(), hashlib.sha256(content).hexdigest())
        self.assertGreater(len(self.laptop.ask("history", peer="server")), before)

    def sshd(self, host: Host) -> None:
        """Run an OpenSSH server on a machine, for its loopback only."""
        program = shutil.which("sshd", path="/usr/sbin:/usr/bin")
        if program is None:
            raise SkipTest("no sshd (package openssh-server)")
        self.keys = Path(self.mktemp()).absolute()
        self.keys.mkdir(mode=0o700)
        for name in ("host", "client"):
            path = str(self.keys / name)
            subprocess.run(["ssh-keygen", "-qted25519", "-N", "", "-f", path], check=True)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        settings = {
            "HostKey": self.keys / "host",
            "AuthorizedKeysFile": self.keys / "client.pub",
            "ListenAddress": f"127.0.0.1:{SSH}",
            "StrictModes": "no",
            "UsePAM": "no",
            "PermitRootLogin": "prohibit-password",
            "PidFile": "none",
        }
        options = [f"-o{name}={value}" for name, value in settings.items()]
        running = host.popen([program, "-D", "-f/dev/null", *options], stderr=DEVNULL)
        self.addCleanup(running.wait)
        self.addCleanup(running.terminate)
        look = f"exec 3<>/dev/tcp/127.0.0.1/{SSH}"
        wait_until(lambda: not host.popen(["bash", "-c", look], stderr=DEVNULL).wait(), "sshd")
