"""wireguard-go in a network namespace of its own, and our sockets beside it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from random import Random

from twisted.trial.unittest import SkipTest

from tunnelmesh.noise.primitives import StaticKey

PORT = 51820
THEIRS = "10.66.0.1"
OURS = "10.66.0.2"
THEIRS6 = "fd66::1"
OURS6 = "fd66::2"

_HOLDER = """
import os, socket, subprocess
subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
for udp in made:
    udp.bind(("127.0.0.1", 0))
made.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
made.append(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
parent = socket.socket(fileno=0)
socket.send_fds(parent, [b"ready"], [each.fileno() for each in made])
parent.recv(1)
"""
"""Holds the namespace until its standard input is closed, and hands out sockets made in it: a
socket stays in the namespace that it was made in, wherever it is used."""


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does.

    :raises AssertionError: if it does not within five seconds.
    """
    give_up = time.monotonic() + 5
    while not condition():
        if time.monotonic() > give_up:
            raise AssertionError("nothing happened for five seconds")
        time.sleep(0.005)


class WireguardGo:
    """The interface *name*, made by a real wireguard-go; its user is one we give a key to.

    :param name: unique on this machine.
    :raises SkipTest: if there is no wireguard-go, or no namespace for it.

    :ivar udp: two UDP sockets from which it can be reached.
    :ivar icmp: a raw ICMP socket on its machine.
    :ivar udp6: an IPv6 socket on its machine.
    """

    def __init__(self, name: str) -> None:
        for program in ("wireguard-go", "wg", "ip", "unshare", "nsenter", "mount"):
            if shutil.which(program) is None:
                raise SkipTest(f"{program} is not installed")
        self.name = name
        self._private_key = Random(name).randbytes(32)
        self.public_key = StaticKey(self._private_key).public
        self.udp: list[socket.socket] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        own, other = socket.socketpair()
        self._leash = own
        map_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self._holder = subprocess.Popen(
            ["unshare", *map_root, "--net", "--mount", sys.executable, "-ISc", _HOLDER],
            stdin=other,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        other.close()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def configure(self, public_key: bytes, psk: bytes = bytes(32), endpoint: str = "") -> None:
        """Give it one peer, forgetting the one before."""
        lines = [
            "[Interface]",
            f"PrivateKey = {b64encode(self._private_key).decode()}",
            f"ListenPort = {PORT}",
            "[Peer]",
            f"PublicKey = {b64encode(public_key).decode()}",
            f"AllowedIPs = {OURS}/32, {OURS6}/128",
        ]
        if any(psk):
            lines.append(f"PresharedKey = {b64encode(psk).decode()}")
        if endpoint:
            lines.append(f"Endpoint = {endpoint}")
        self.run("wg", "setconf", self.name, "/dev/stdin", text="\n".join(lines))

    def endpoint(self) -> str:
        """Where it believes its peer to be."""
        return self.run("wg", "show", self.name, "endpoints").split()[-1]

    def forget_sessions(self) -> None:
        """Let it forget its sessions, and when it sent its last initiation, but not its cookie.

        It does when its private key changes; here, there and back.
        """
        for key in (b"other".ljust(32), self._private_key):
            text = b64encode(key).decode()
            self.run("wg", "set", self.name, "private-key", "/dev/stdin", text=text)

    def run(self, *command: str, text: str = "") -> str:
        """Run a command on its machine."""
        enter = ["nsenter", "--target", str(self._holder.pid), *self._user, "--net", "--mount"]
        done = subprocess.run(
            [*enter, *command], input=text, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise AssertionError(f"{command}: {done.stderr}")
        return done.stdout

    def stop(self) -> None:
        """End it; its namespace goes with it."""
        for each in self.udp:
            each.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._leash.close()
        self._holder.wait()
        assert self._holder.stderr is not None
        self._holder.stderr.close()

    def _start(self) -> None:
        ready, fds, _, _ = socket.recv_fds(self._leash, 16, 4)
        if ready != b"ready":
            assert self._holder.stderr is not None
            why = self._holder.stderr.read().decode(errors="replace").strip()
            raise SkipTest(f"there is no network namespace to be had: {why}")
        self.udp = [socket.socket(fileno=fd) for fd in fds]
        *_, self.icmp, self.udp6 = self.udp
        enter = ["nsenter", "--target", str(self._holder.pid), *self._user, "--net", "--mount"]
        log = Path(f"/proc/{self._holder.pid}/root/run/wireguard-go.log")
        self._process = subprocess.Popen(
            [*enter, "sh", "-c", f"exec wireguard-go -f {self.name} >/run/wireguard-go.log 2>&1"],
            env={**os.environ, "WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"},
        )
        control = Path(f"/proc/{self._holder.pid}/root/run/wireguard/{self.name}.sock")
        process = self._process
        wait_for(lambda: control.exists() or process.poll() is not None)
        if not control.exists():
            why = log.read_text().strip().splitlines()[-1:]
            raise SkipTest(f"wireguard-go does not start: {why}")
        self.run(
            "sh",
            "-c",
            f"ip address add {THEIRS}/24 dev {self.name} && "
            f"ip link set {self.name} mtu 1420 up && "
            f"ip -6 address add {THEIRS6}/64 dev {self.name} nodad",
        )
