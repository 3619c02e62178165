"""Access rules, with real kernels."""

from __future__ import annotations

import sys
from subprocess import DEVNULL, PIPE

from tests.mesh.meshes import PATIENCE, MeshTestCase
from tunnelmesh.cli.ask import ask
from tunnelmesh.lab.kernel.mesh import Mesh, Peer
from tunnelmesh.peer.pair.guard import NOT_ALLOWED

SERVE = """
import selectors, socket, sys
address = sys.argv[1]
waiting = selectors.DefaultSelector()
for port in 8022, 8023:
    waiting.register(socket.create_server((address, port)), 1)
for port in 5000, 5001:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, port))
    waiting.register(server, 1)
print("ready", flush=True)
while True:
    for key, _ in waiting.select():
        if key.fileobj.type == socket.SOCK_DGRAM:
            key.fileobj.sendto(*key.fileobj.recvfrom(9000))
        else:
            key.fileobj.accept()[0].close()
"""
"""Takes connections, and sends datagrams back."""

REACH = """
import socket, sys
kind, address, port, seconds = sys.argv[1:]
if kind == "tcp":
    socket.create_connection((address, port), float(seconds)).close()
else:
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.settimeout(float(seconds))
    asking.sendto(b"?" * 3000, (address, int(port)))
    asking.recvfrom(9000)
"""
"""Connects, or asks by a datagram, which goes in fragments, and waits for the answer."""

WAIT = 0.7
"""Seconds to wait for what is not to come: what passes takes milliseconds."""

RULES = """
[groups]
people = ["laptop"]

[[allow]]
from = ["people"]
to = ["server"]
ports = ["tcp/8022", "tcp/80", "udp/5000", "icmp"]
"""


class AccessTests(MeshTestCase):
    """A laptop and a server: the laptop may reach some ports of the server, which may not reach the
    laptop at all."""

    def setUp(self) -> None:
        """Both have joined, and met."""
        super().setUp()
        self.mesh.coordinator.stop()
        self.file = self.world.folder / "rules.toml"
        self.file.write_text(RULES)
        self.mesh = Mesh(self.world, f"--policy={self.file}")
        self.mesh.coordinator.start()
        self.laptop, self.server = self.join(
            [
                self.world.add_site("home", "full-cone").add_host("laptop"),
                self.world.add_site("office", "full-cone").add_host("server"),
            ]
        )
        self.until(
            lambda: self.laptop.path_to("server") == "udp" == self.server.path_to("laptop"), "UDP"
        )
        for peer in (self.laptop, self.server):
            serve = [sys.executable, "-ISc", SERVE, peer.address]
            program = peer.host.popen(serve, stdout=PIPE, stderr=DEVNULL)
            assert program.stdout is not None
            with program.stdout:
                self.assertEqual(program.stdout.readline(), b"ready\n")

    def check(self, by: Peer, kind: str, to: Peer, port: int, *, passes: bool) -> None:
        """See whether a TCP connection, or a datagram and its answer, pass."""
        seconds = PATIENCE if passes else WAIT
        argv = [sys.executable, "-ISc", REACH, kind, to.address, str(port), str(seconds)]
        done = by.host.run(argv, check=False)
        self.assertEqual(done.returncode == 0, passes, f"{by.name} to {kind}/{port}: {done.stderr}")

    def test_rules(self) -> None:
        """What is allowed works, answers and long streams too; the rest is dropped; the rules
        change while all runs; and a mistake in them changes nothing."""
        laptop, server = self.laptop, self.server
        self.check(laptop, "tcp", server, 8022, passes=True)
        self.check(laptop, "tcp", server, 8023, passes=False)
        self.check(laptop, "udp", server, 5000, passes=True)
        self.check(laptop, "udp", server, 5001, passes=False)
        laptop.host.run(["ping", "-q", "-c1", "-w10", server.address])
        self.check(server, "tcp", laptop, 8022, passes=False)
        self.check(server, "udp", laptop, 5000, passes=False)
        unanswered = server.host.run(["ping", "-q", "-c1", "-W1", laptop.address], check=False)
        self.assertEqual(unanswered.returncode, 1)
        self.fetch(laptop, server)

        status = server.status()
        self.assertTrue(status["restricted"])
        self.assertGreaterEqual(status["dropped"][NOT_ALLOWED], 2)
        said = "\n".join(server.ask("explain", peer="laptop")["evidence"])
        self.assertIn("laptop may reach server: tcp/8022, tcp/80, udp/5000, icmp", said)
        self.assertIn("server may reach laptop: nothing", said)
        self.assertIn("(tcp/8023) from laptop", said)

        self.file.write_text("[[alow]]\n")
        self.until(lambda: self.mistake(), "the mistake to be seen")
        self.check(laptop, "tcp", server, 8022, passes=True)
        self.check(laptop, "tcp", server, 8023, passes=False)
        self.file.write_text(RULES.replace("8022", "8023"))
        ask(self.mesh.coordinator.state_dir, "policy")  # reads it now
        self.until(
            lambda: "server: tcp/8023" in str(laptop.ask("explain", peer="server")["evidence"]),
            "the new rules",
        )
        self.check(laptop, "tcp", server, 8023, passes=True)
        self.check(laptop, "tcp", server, 8022, passes=False)

    def mistake(self) -> str | None:
        """What the coordinator finds wrong with its file."""
        found: str | None = self.mesh.coordinator.status()["policy"]["mistake"]
        return found
