"""What the measurements ask of a tunnel."""

from __future__ import annotations

import os
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from bench.stun import cpu
from bench.throughput.line import Laboratory
from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel import Host
from tunnelmesh.lab.kernel.mesh import wait_until
from tunnelmesh.lab.kernel.namespaces import ADMINISTRATION

NEAR, FAR = "10.99.0.1", "10.99.0.2"
"""Addresses in the tunnel, where its user chooses them."""

PREFIX = 24

MTU = 1420
"""Of the tunnel, where its user chooses it: what WireGuard's own tools set on a wire of 1,500."""

LINES = 5
"""How much of what each end of a tunnel has said is told when it fails."""


class System:
    """A tunnel between the two ends of a line of its own.

    :param options: of the command, where one tells where to find a program.

    :ivar near: the address of the near end inside the tunnel.
    :ivar far: that of the far end.
    :ivar programs: the processes of both ends; their time and memory count.
    :ivar logs: what they say.
    """

    name: ClassVar[str]
    """What it is called, in options and tables."""

    def __init__(self, laboratory: Laboratory, options: Namespace) -> None:
        self.laboratory = laboratory
        self.options = options
        self.line = laboratory.line(self.name)
        self.near, self.far = NEAR, FAR
        self.programs: list[subprocess.Popen[Any]] = []
        self.logs: list[Path] = []
        self.folder = laboratory.world.folder / f"throughput-{self.name}"
        self.folder.mkdir()

    @classmethod
    def missing(cls, options: Namespace) -> str | None:
        """Say how to get it, if it is not here."""
        return None

    def version(self) -> str:
        """What it says that it is."""
        return ""

    def start(self) -> None:
        """Start both ends."""

    def up(self) -> None:
        """Start both ends, and wait until they talk.

        :raises LabError: they do not.
        """
        self.start()
        wait_until(self._answers, f"{self.name} to carry a ping")

    def direct(self) -> bool:
        """Whether it sends by the wire now, as it should."""
        return True

    def spawn(self, host: Host, argv: list[str], **how: Any) -> subprocess.Popen[Any]:
        """Start one of its processes; what it says is kept until the laboratory ends."""
        self.logs.append(self.folder / f"{host.name}.log")
        with self.logs[-1].open("ab") as log:
            how = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log} | how
            program = host.popen(argv, **how)
        self.programs.append(program)
        return program

    def cpu(self) -> float:
        """Seconds of CPU time that both ends have used."""
        return sum(cpu(each.pid) for each in self.programs)

    def memory(self) -> float:
        """Resident megabytes of the larger end."""
        pages = [int(Path(f"/proc/{p.pid}/statm").read_text().split()[1]) for p in self.programs]
        return max(pages, default=0) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def last_words(self) -> str:
        """The last lines that each end has said."""
        texts = [log.read_text(errors="replace") for log in self.logs if log.exists()]
        return "".join(f"    {line}\n" for text in texts for line in text.splitlines()[-LINES:])

    def _answers(self) -> bool:
        if any(each.poll() is not None for each in self.programs):
            raise LabError(f"{self.name} has ended by itself")
        ping = ["ping", "-c1", "-W1", self.far]
        return not self.line.near.run(ping, check=False).returncode


class Raw(System):
    """No tunnel: the wire itself."""

    name = "raw"

    def start(self) -> None:
        """There is nothing to start."""
        self.near, self.far = self.line.near_address, self.line.far_address


def said(argv: Sequence[str], **how: Any) -> str:
    """Run a program of this machine to its end, and return what it printed.

    :raises LabError: it is missing, or failed.
    """
    try:
        done = subprocess.run(argv, capture_output=True, text=True, **how)
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is missing") from None
    if done.returncode:
        raise LabError(f"{argv[0]}: {' '.join(done.stderr.splitlines()[-1:])}")
    return str(done.stdout)


def which(program: str) -> str | None:
    """Find a program, also where only root's PATH leads."""
    return shutil.which(program) or shutil.which(program, path=ADMINISTRATION)
