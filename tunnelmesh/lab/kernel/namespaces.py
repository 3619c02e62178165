"""Network namespaces, through the ``ip`` and ``nft`` commands."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from ...errors import LabError

PACKAGES = {
    "ip": "iproute2",
    "nft": "nftables",
    "tc": "iproute2",
    "tinyproxy": "tinyproxy-bin",
    "unshare": "util-linux",
}
"""The Debian package that each command comes from."""

ADMINISTRATION = "/usr/sbin:/sbin"
"""Folders that are often not on an ordinary user's PATH."""

NAMED = Path("/run/netns")
"""Where ``ip netns`` keeps its names."""


@cache
def command(name: str) -> str:
    """Find a command.

    :raises LabError: it is not installed.
    """
    found = shutil.which(name) or shutil.which(name, path=ADMINISTRATION)
    if found is None:
        package = PACKAGES.get(name, name)
        raise LabError(f"the command {name!r} is missing (Debian: apt install {package})")
    return found


def call(argv: Sequence[str], text: str = "", namespace: str | None = None) -> None:
    """Run a command that has to succeed, with *text* as its input, inside *namespace* if given.

    :raises LabError: with the first line it complained with.
    """
    within = entering(namespace) if namespace else []
    done = subprocess.run([*within, *argv], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        complaint = (done.stderr or done.stdout).strip().splitlines()
        name = os.path.basename(argv[0])
        raise LabError(f"{name}: {complaint[0] if complaint else f'status {done.returncode}'}")


def ip(lines: Sequence[str], namespace: str | None = None) -> None:
    """Run many ``ip`` commands as one batch, inside *namespace* if given."""
    if not lines:
        return
    within = ["-n", namespace] if namespace else []
    call([command("ip"), *within, "-batch", "-"], "\n".join(lines) + "\n")


def nft(rules: str, namespace: str) -> None:
    """Load nftables rules in a namespace, all or nothing."""
    call([command("nft"), "-f", "-"], rules, namespace)


def shell(script: str, namespace: str) -> None:
    """Run a POSIX shell script in a namespace; ``/proc/sys/net`` and ``/sys`` are its own there."""
    call(["/bin/sh", "-c", script], namespace=namespace)


def entering(namespace: str) -> list[str]:
    """Return what to put before a command so that it runs in a namespace, with the same pid."""
    return [command("ip"), "netns", "exec", namespace]


def exists(namespace: str) -> bool:
    """Whether there is a namespace of this name."""
    return (NAMED / namespace).exists()


def inhabitants(namespaces: Iterable[str]) -> list[int]:
    """Return the pids of all processes that live in any of these namespaces."""
    inodes = {(NAMED / name).stat().st_ino for name in namespaces if exists(name)}
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "ns/net").stat().st_ino in inodes:
                found.append(int(process.name))
        except OSError:  # ended meanwhile, or not ours to see
            pass
    return found
