"""``tunnelmesh up --detach`` and ``tunnelmesh down``: a peer without a terminal."""

from __future__ import annotations

import argparse
import stat
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from tunnelmesh.cli.ask import add_arguments, ask, command, lines
from tunnelmesh.cli.example import example
from tunnelmesh.errors import NotRunningError, TunnelMeshError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

LOG = "tunnelmesh.log"
PID = "tunnelmesh.pid"
"""Files in the state directory. Twisted begins a new log at a megabyte."""

PATIENCE = 30.0
"""Seconds to wait for the link to the coordinator: twice what joining may take."""

POLL = 0.05


def add_parser(subparsers: Subparsers) -> None:
    """Say how ``down`` is called."""
    parser = subparsers.add_parser(
        "down",
        help="stop the service that runs on this machine",
        description="Stop the peer, or the coordinator, that runs with a state directory, and wait "
        "until it has ended. What systemd runs is better stopped by 'systemctl stop tunnelmesh', "
        "which also works.",
        **example("tunnelmesh down"),
    )
    add_arguments(parser, json_too=False)
    parser.set_defaults(run=command(_down))


def _down(args: argparse.Namespace) -> int:
    print(f"the {stop(args.state_dir)} has ended")
    return 0


def stop(state_dir: Path | None) -> str:
    """Stop what runs with a state directory, and wait until it has ended.

    :returns: its role.
    :raises NotRunningError: if nothing runs.
    """
    answers = lines(state_dir, "stop")
    role = str(next(answers)["role"])
    with suppress(NotRunningError):  # what ends cannot say that it has
        next(answers, None)
    return role


def detach(argv: Sequence[str], state_dir: Path) -> str:
    """Run ``twistd`` in the background, and return once it is linked to its coordinator.

    :param argv: its command line.
    :returns: what it has come to, for people.
    :raises TunnelMeshError: if it ends before, or has no link within :data:`PATIENCE`; in the
        latter case it goes on trying.
    """
    with suppress(NotRunningError):
        ask(state_dir, "status")
        raise TunnelMeshError(
            f"TunnelMesh is already running with the state directory {state_dir}: "
            "see 'tunnelmesh status', or stop it with 'tunnelmesh down'"
        )
    log = state_dir / LOG
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (state_dir / PID).unlink(missing_ok=True)  # its number may be another process's by now
        if _leads_elsewhere(log):
            log.unlink()
    except OSError as error:
        raise TunnelMeshError(f"{state_dir} cannot be written: {error.strerror}") from None
    with TemporaryFile() as complaints:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            start_new_session=True,
            umask=0o077,
        )
        try:
            return _registered(process, state_dir, log)
        except _EndedError:
            complaints.seek(0)
            said = complaints.read().decode("utf-8", "replace") or _read(log)
            last = (said.splitlines() or ["it ended without a word"])[-1]
            raise TunnelMeshError(last.removeprefix("tunnelmesh: ")) from None


def _registered(process: subprocess.Popen[bytes], state_dir: Path, log: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    status: dict[str, Any] = {}
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _EndedError
        with suppress(TunnelMeshError):  # not yet there, or still joining
            status = ask(state_dir, "status")
            link = status["coordinator"]["link"]
            if link is not None:
                return f"{status['name']} ({status['address']}) runs, linked by {link}"
        time.sleep(POLL)
    failures = status.get("coordinator", {}).get("failures", {})
    reasons = "; ".join(f"{route}: {reason}" for route, reason in failures.items())
    raise TunnelMeshError(
        f"no link to the coordinator in {PATIENCE:.0f} s ({reasons or 'no answer'}); it goes on "
        f"trying in the background: see {log}, or stop it with 'tunnelmesh down'"
    )


def _leads_elsewhere(log: Path) -> bool:
    """Whether what would be written there ends up in another file: with ``--user`` the directory is
    that user's, and root begins the log."""
    try:
        status = log.lstat()
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(status.st_mode) or status.st_nlink > 1


def _read(log: Path) -> str:
    try:
        return log.read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""


class _EndedError(Exception):
    """The service ended before it was linked."""
