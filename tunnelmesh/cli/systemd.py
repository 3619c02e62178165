"""Where systemd has its units, and how it is asked."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tunnelmesh.cli.unit import NAMES, Role
from tunnelmesh.errors import TunnelMeshError

BOOTED = Path("/run/systemd/system")
"""Is there where systemd runs the machine (sd_booted(3))."""

ETC = Path("/etc")

POLKIT = """\
// Written by 'tunnelmesh service install', removed by 'tunnelmesh service uninstall':
// the service tells systemd-resolved who answers for the mesh's names.
polkit.addRule(function (action, subject) {
    if (subject.user == "tunnelmesh" && action.id.startsWith("org.freedesktop.resolve1.")) {
        return polkit.Result.YES;
    }
});
"""


def is_booted() -> bool:
    """Whether systemd runs this machine."""
    return BOOTED.is_dir()


class Place:
    """Where a service's files are, and who starts it.

    :ivar polkit: the file with :data:`POLKIT`; None where there is nothing to allow.
    """

    def __init__(self, role: Role, of_user: bool) -> None:
        self.name = NAMES[role]
        self.of_user = of_user
        home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        units = home / "systemd" / "user" if of_user else ETC / "systemd" / "system"
        self.unit = units / self.name
        self.config = (home if of_user else ETC) / "tunnelmesh" / f"{role}.toml"
        rules = ETC / "polkit-1" / "rules.d"
        allows = role == "peer" and not of_user and rules.is_dir()
        self.polkit = rules / "50-tunnelmesh.rules" if allows else None

    def systemctl(self, *words: str) -> str:
        """Ask systemd.

        :raises TunnelMeshError: with what it says is wrong.
        """
        argv = ["systemctl", *(["--user"] if self.of_user else []), *words]
        try:
            done = subprocess.run(argv, capture_output=True, text=True)
        except OSError as error:
            raise TunnelMeshError(f"systemctl cannot be run: {error.strerror}") from None
        if done.returncode and words[0] not in ("is-active", "is-enabled"):
            raise TunnelMeshError(f"{' '.join(argv)}: {done.stderr.strip() or 'failed'}")
        return done.stdout.strip()

    def may_write(self) -> None:
        """:raises TunnelMeshError: if this is not for who runs this."""
        if not self.of_user and os.geteuid() != 0:
            raise TunnelMeshError("only root installs services: try sudo, or --user-unit")


def write(path: Path, text: str, mode: int) -> None:
    """Write a file whole or not at all.

    :raises TunnelMeshError: if it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        raise TunnelMeshError(f"{path} cannot be written: {error.strerror}") from None


def toml(value: object) -> str:
    """A value as TOML has it: its texts are JSON's, if they have no control characters."""
    return json.dumps(value, ensure_ascii=False)
