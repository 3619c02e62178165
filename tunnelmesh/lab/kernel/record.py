"""What is kept on disk about each running world, so that others find it and clear up after it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from ...errors import LabError
from .namespaces import NAMED, inhabitants, ip
from .rights import real_uid

RECORD = "world.json"


@dataclass(frozen=True, slots=True)
class Record:
    """One world, as others see it.

    :ivar prefix: what the names of its namespaces begin with.
    :ivar pid: the process that built it.
    :ivar started: when that process started, in clock ticks since boot: pids are used again.
    """

    prefix: str
    pid: int
    started: int

    @classmethod
    def own(cls, prefix: str) -> Record:
        """Describe a world of this process."""
        return cls(prefix, os.getpid(), _started(os.getpid()))

    @property
    def folder(self) -> Path:
        """The world's folder: its record, its programs' settings, its control socket."""
        return runtime() / self.prefix

    @property
    def alive(self) -> bool:
        """Whether the process that built it still runs."""
        return self.started != 0 and _started(self.pid) == self.started

    def write(self) -> None:
        """Make the folder and put the record in it."""
        self.folder.mkdir()
        (self.folder / RECORD).write_text(json.dumps(asdict(self)))

    def clear(self) -> None:
        """Remove everything the world has in the system: programs, namespaces, files."""
        names = namespaces(self.prefix)
        for pid in inhabitants(names):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ip([f"netns delete {name}" for name in names])
        shutil.rmtree(self.folder, ignore_errors=True)


def runtime() -> Path:
    """Return the folder of all of this user's worlds, inside and outside user namespaces alike.

    :raises LabError: somebody else made it first.
    """
    folder = Path(tempfile.gettempdir()) / f"tunnelmesh-lab-{real_uid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise LabError(f"{folder} belongs to somebody else: remove it")
    return folder


def records() -> list[Record]:
    """Return every world that left a record, running or not."""
    found = []
    for path in sorted(runtime().glob(f"*/{RECORD}")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append(Record(**json.loads(path.read_text())))
    return found


def namespaces(prefix: str) -> list[str]:
    """Return the names of all namespaces of a world."""
    return sorted(path.name for path in NAMED.glob(f"{prefix}-*"))


def _started(pid: int) -> int:
    """Return field 22 of ``/proc/PID/stat``, or 0 if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])
