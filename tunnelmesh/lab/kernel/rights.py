"""Who may build a laboratory: root, or anybody inside a user namespace of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from ...errors import LabError
from .namespaces import command

NEEDED = ("ip", "nft", "unshare")
"""Commands without which there is no laboratory."""

PRIVATE_RUN = 'mount -t tmpfs tmpfs /run && exec "$@"'
"""Namespace names live in /run, which belongs to the real root: put an own one over it."""

PROBE = "add table ip probe; add map ip probe m { type ipv4_addr : ipv4_addr; flags timeout; }"
"""Rules that load only where nftables works."""


def available() -> str | None:
    """Say what a laboratory lacks here.

    :returns: None if a :class:`World` can be built by this process; else what is missing, in words.
    """
    try:
        for name in NEEDED:
            command(name)
    except LabError as error:
        return str(error)
    if os.geteuid() != 0:
        return "not root: run as root, or through python -m tunnelmesh.lab.kernel COMMAND"
    if not os.access("/run", os.W_OK):
        return "/run cannot be written to: run as root, or python -m tunnelmesh.lab.kernel COMMAND"
    if not _runs([command("unshare"), "-nm", command("nft"), PROBE]):
        return "no right to make network namespaces with nftables in them (CAP_SYS_ADMIN)"
    return None


def reenter(argv: Sequence[str] | None = None) -> None:
    """Start this program again as root of a user namespace of its own, unless it is root already.

    Returns only if nothing needs to be done.

    :param argv: what to run instead of this very program.
    :raises LabError: this machine does not let ordinary users make namespaces.
    """
    if os.geteuid() == 0 and argv is None:
        return
    private = [command("unshare"), "-Urnm", "--", "/bin/sh", "-c", PRIVATE_RUN, "sh"]
    if not _runs([*private, "true"]):
        raise LabError(
            "this machine lets only root make network namespaces: run as root "
            "(or set the sysctl user.max_user_namespaces above 0)"
        )
    again = list(argv) if argv is not None else [sys.executable, *sys.orig_argv[1:]]
    sys.stdout.flush()
    os.execv(private[0], [*private, *again])


def real_uid() -> int:
    """Return this user's id outside any user namespace made by :func:`reenter`."""
    with open("/proc/self/uid_map", encoding="ascii") as table:
        inside, outside, _count = map(int, table.readline().split())
    return os.getuid() - inside + outside


def _runs(argv: list[str]) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0
