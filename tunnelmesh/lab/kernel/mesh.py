"""A mesh in the laboratory: the real coordinator and real peers, as programs on its hosts.

::

    with World() as world:
        laptop = world.add_site("home", "port-restricted").add_host("laptop")
        server = world.add_site("office", "symmetric").add_host("server")
        mesh = Mesh(world)
        mesh.coordinator.start()
        token = mesh.coordinator.invite(uses=2)
        one, other = (mesh.add_peer(host, f"--join={token}") for host in (laptop, server))
        wait_until(lambda: one.path_to("server") and other.path_to("laptop"), "a path")
        laptop.run(["ping", "-c1", other.address])
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...cli.ask import ask
from ...errors import LabError, TunnelMeshError
from .host import Host
from .programs import end
from .world import World

TWISTD = [sys.executable, "-P", "-c", "from twisted.scripts.twistd import run; run()"]
"""The ``twistd`` of this Python, which need not be on the PATH."""

TUNNELMESH = [
    sys.executable,
    "-P",
    "-c",
    "from tunnelmesh.cli import main; raise SystemExit(main())",
]
"""Its ``tunnelmesh``."""

HTTPS_PORT = 443
"""Where the coordinator listens: networks that pass little pass this."""

POLL = 0.01
"""Seconds between looks at a condition about programs."""


class Program:
    """One ``twistd tunnelmesh`` on a host. Its state outlives it: it can be started again.

    :param folder: where its state directory and its log are put, under *name*.
    :param environment: added to this process's, of which proxy settings are left out, and what has
        Python compile everything at each start: that would be a third of it, and is nothing that an
        installed peer does.

    :ivar process: the one that runs, or ran last.
    :ivar log: the file that keeps what all of them said.
    """

    def __init__(
        self,
        host: Host,
        name: str,
        folder: Path,
        options: list[str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.host = host
        self.name = name
        self.state_dir = folder / name
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[Any] | None = None
        self._argv = [*TWISTD, "--nodaemon", "--pidfile=", "tunnelmesh", *options]
        own = {
            name: text
            for name, text in os.environ.items()
            if "_proxy" not in name.lower() and name != "PYTHONDONTWRITEBYTECODE"
        }
        self._environment = own | dict(environment or {})

    def start(self) -> None:
        """Run it."""
        with self.log.open("ab") as log:
            self.process = self.host.popen(
                [*self._argv, f"--state-dir={self.state_dir}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self.process is not None:
            end([self.process])

    def ask(self, question: str, **query: str) -> Any:
        """Ask what a ``tunnelmesh`` command would.

        :raises TunnelMeshError: it does not answer, or says what is wrong.
        """
        return ask(self.state_dir, question, **query)

    def status(self) -> dict[str, Any]:
        """What ``tunnelmesh status --json`` prints; empty while it does not answer.

        :raises LabError: it has ended by itself.
        """
        try:
            answer: dict[str, Any] = self.ask("status")
        except (TunnelMeshError, StopIteration):
            if self.process is not None and self.process.poll() is not None:
                said = self.log.read_text(errors="replace").splitlines()[-1:]
                raise LabError(f"{self.name} has ended: {' '.join(said)}") from None
            return {}
        return answer


class Coordinator(Program):
    """The coordinator, on the laboratory's public machine."""

    def start(self) -> None:
        """Run it, and wait until it serves."""
        super().start()
        wait_until(lambda: bool(self.status()), "the coordinator to serve")

    def invite(self, uses: int = 1, expires: str = "1h") -> str:
        """Make a token, as the command does."""
        state_dir = f"--state-dir={self.state_dir}"
        asked = [f"--uses={uses}", f"--expires={expires}"]
        done = self.host.run([*TUNNELMESH, "invite", state_dir, *asked])
        return done.stdout.strip()


class Peer(Program):
    """A peer."""

    @property
    def address(self) -> str:
        """Its mesh address; empty until it has joined."""
        return str(self.status().get("address", ""))

    @property
    def link(self) -> str | None:
        """What carries its link to the coordinator now: ``ssh``, ``websocket``, or None."""
        kind: str | None = self.status().get("coordinator", {}).get("link")
        return kind

    def path_to(self, name: str) -> str | None:
        """By what it reaches another peer now: ``udp``, ``ssh``, ``websocket``, or None."""
        return self.paths().get(name)

    def paths(self) -> dict[str, str | None]:
        """By what it reaches each of the others."""
        return {each["name"]: each["path"]["kind"] for each in self.status().get("peers", ())}


class Mesh:
    """A coordinator that is not started yet, and the peers that were added.

    :param folder: where state and logs are kept; if not given, they are gone with the world.
    :param options: further ones of the coordinator.
    """

    def __init__(self, world: World, *options: str, folder: Path | None = None) -> None:
        self.world = world
        self.folder = folder or world.folder
        first, second = world.coordinator.addresses
        self.coordinator = Coordinator(
            world.coordinator,
            "coordinator",
            self.folder,
            [
                "--role=coordinator",
                f"--public-host={first}",
                f"--https-port={HTTPS_PORT}",
                f"--stun-alternate-address={second}",
                *options,
            ],
        )
        self.peers: dict[str, Peer] = {}

    def add_peer(self, host: Host, *options: str, **environment: str) -> Peer:
        """Start a peer on a host, with the host's name.

        :param environment: variables, such as ``https_proxy``.
        """
        words = ["--role=peer", f"--name={host.name}", *options]
        peer = Peer(host, host.name, self.folder, words, environment)
        self.peers[host.name] = peer
        peer.start()
        return peer


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait for a condition about programs.

    :param what: what is waited for, in words.
    :raises LabError: it was in vain.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:g} s for {what}, in vain")
        time.sleep(POLL)
