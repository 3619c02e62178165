"""The stage made of the Linux kernel's own NATs, real programs and real network devices."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from tunnelmesh.errors import LabError, TunnelMeshError
from tunnelmesh.lab.demo.stage import (
    FILE_NAME,
    HTTP_PORT,
    NAMES,
    PING_EVERY,
    PLACES,
    SSH_PORT,
    Machine,
    Transfer,
)
from tunnelmesh.lab.kernel import World, available
from tunnelmesh.lab.kernel.mesh import Mesh, wait_until
from tunnelmesh.lab.kernel.namespaces import command

FILE_SIZE = 16 << 20
"""Bytes: fast enough over a relay on a small machine, and still a moment over a direct path."""

MOMENT = 0.05
"""Seconds between two looks at the services."""

TUN = Path("/dev/net/tun")

_SERVE = """
import functools, http.server, socketserver, sys
address, port, folder = sys.argv[1:]
files = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
with socketserver.TCPServer((address, int(port)), files) as server:
    print("ready", flush=True)
    server.serve_forever()
"""
"""``python -m http.server``, less the question for the machine's name: there is no DNS."""

_FETCH = """
import shutil, sys, time, urllib.request
asked = time.monotonic()
with urllib.request.urlopen(sys.argv[1]) as answer, open(sys.argv[2], "wb") as file:
    shutil.copyfileobj(answer, file, 1 << 18)
print(time.monotonic() - asked)
"""
"""An ordinary HTTP client; the last line is how long it took, Python's start not included."""

_PYTHON = [sys.executable, "-P", "-c"]

_PONG = re.compile(r"icmp_seq=(\d+) .*time=([\d.]+) ms")


def missing() -> str | None:
    """Say what this stage lacks here.

    :returns: None if it can be built.
    """
    lacks = available()
    if lacks is not None:
        return lacks
    try:
        command("ping")
        os.close(os.open(TUN, os.O_RDWR))
    except LabError as error:
        return str(error)
    except OSError as error:
        return f"{TUN}, which makes network devices: {error.strerror}"
    return None


class KernelStage:
    """See :class:`~tunnelmesh.lab.demo.stage.Stage`.

    :param kinds: of the two gateways.
    """

    about = "All on this machine: real NATs of the Linux kernel, in network namespaces."

    def __init__(self, kinds: tuple[str, str]) -> None:
        self._kinds = kinds
        self._stack = ExitStack()
        self._client: subprocess.Popen[str] | None = None

    def __enter__(self) -> KernelStage:
        world = World("demo")
        with ExitStack() as stack:
            stack.enter_context(world)
            self._sites = [
                world.add_site(place, kind) for place, kind in zip(PLACES, self._kinds, strict=True)
            ]
            self._hosts = [
                site.add_host(name) for site, name in zip(self._sites, NAMES, strict=True)
            ]
            self._mesh = Mesh(world)
            self._folder = world.folder
            self._served = world.folder / "served"
            self._served.mkdir()
            data = os.urandom(FILE_SIZE)
            (self._served / FILE_NAME).write_bytes(data)
            self._stack = stack.pop_all()
        self.size, self.sha256 = len(data), hashlib.sha256(data).hexdigest()
        self.coordinator = world.coordinator.address
        one, other = (
            Machine(host.name, site.name, site.kind.name, host.address, site.outside)
            for site, host in zip(self._sites, self._hosts, strict=True)
        )
        self.machines = (one, other)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # All at once, and not asked first: each would take its time to say goodbye to the others.
        for program in (self._mesh.coordinator, *self._mesh.peers.values()):
            program.kill()
        self._stack.close()

    def now(self) -> float:
        return time.time()

    def let_pass(self) -> None:
        time.sleep(MOMENT)

    def start_coordinator(self) -> None:
        self._mesh.coordinator.start()

    def start_peers(self) -> None:
        token = self._mesh.coordinator.invite(uses=2)
        for site, host in zip(self._sites, self._hosts, strict=True):
            proxy = [] if site.proxy is None else [f"--proxy={site.proxy}"]
            # This machine's resolver would take the device for one of its own with the same number.
            self._mesh.add_peer(host, f"--join={token}", "--mode=tun", "--no-dns", *proxy)

    def ask(self, name: str, question: str, **query: str) -> Any:
        peer = self._mesh.peers[name]
        if question == "status":
            return peer.status() or None
        try:
            return peer.ask(question, **query)
        except TunnelMeshError:
            return None

    def fetch(self, address: str) -> None:
        one, other = self._hosts
        log = self._folder / "http.log"
        serve = [*_PYTHON, _SERVE, address, str(HTTP_PORT), str(self._served)]
        with log.open("wb") as out:
            other.popen(serve, stdout=out, stderr=subprocess.STDOUT)
        wait_until(lambda: log.stat().st_size, "the HTTP server to listen")
        url = f"http://{address}:{HTTP_PORT}/{FILE_NAME}"
        fetch = [*_PYTHON, _FETCH, url, str(self._fetched)]
        self._client = one.popen(fetch, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def transfer(self) -> Transfer:
        assert self._client is not None
        status = self._client.poll()
        received = self._fetched.stat().st_size if self._fetched.exists() else 0
        if status is None:
            return Transfer(received)
        out, error = self._client.communicate()
        if status:
            raise LabError(f"the file was not fetched: {error.strip().splitlines()[-1:]}")
        with self._fetched.open("rb") as file:
            return Transfer(received, float(out), hashlib.file_digest(file, "sha256").hexdigest())

    def ping(self, address: str) -> None:
        with self._pings.open("wb") as out:
            argv = [command("ping"), "-n", f"-i{PING_EVERY}", address]
            self._hosts[0].popen(argv, stdout=out, stderr=subprocess.STDOUT)

    def answers(self) -> list[tuple[int, float]]:
        found = _PONG.findall(self._pings.read_text())
        return [(int(number), float(rtt)) for number, rtt in found]

    def cut(self, carrier: str) -> None:
        if carrier == "udp":
            self._sites[0].block(udp=True)
        else:
            self._sites[0].block(tcp_port=SSH_PORT)

    def restore(self) -> None:
        self._sites[0].unblock()

    @property
    def _fetched(self) -> Path:
        return self._folder / FILE_NAME

    @property
    def _pings(self) -> Path:
        return self._folder / "pings"
