"""The systemd units of both roles: as text."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from tunnelmesh.errors import ExpelledError

Role = Literal["peer", "coordinator"]

NAMES: Mapping[str, str] = {
    "peer": "tunnelmesh.service",
    "coordinator": "tunnelmesh-coordinator.service",
}

STATE = Path("/var/lib")
"""Where systemd makes the state directories of its services."""

WRONG_USAGE = 2
"""The exit status after which to start again is of no use; so is :class:`.ExpelledError`'s."""

_CAPABILITIES = "CAP_NET_ADMIN CAP_NET_BIND_SERVICE"
"""For the network device, and for ports below 1024. The peer gives them up after its start."""

_CONFINED = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
"""
"""What a service does not need, as far as a user's own systemd can see to it (systemd.exec(5))."""

_FENCED = """\
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateTmp=yes
RemoveIPC=yes
"""
"""The same, for the system's."""

_PEER = f"""\
AmbientCapabilities={_CAPABILITIES}
CapabilityBoundingSet={_CAPABILITIES}
DevicePolicy=closed
DeviceAllow=/dev/net/tun rw
"""

_COORDINATOR = """\
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
PrivateDevices=yes
LimitNOFILE=65536
"""
"""Each peer takes a file descriptor."""

_ORDER: Mapping[str, str] = {
    "peer": "After=network.target",
    "coordinator": "Wants=network-online.target\nAfter=network-online.target",
}
"""A coordinator needs its public address at the start; a peer waits for one by itself, and what
starts with the machine does not have to wait for it."""


def system_unit(role: Role, state_dir: Path, credentials: Mapping[str, Path]) -> str:
    """A unit for the whole system, under a user of its own.

    :param state_dir: below :data:`STATE`.
    :param credentials: files that only root may read, by what they are to the service: ``config``,
        and settings whose value is a file.
    """
    files = "".join(
        f"LoadCredential={name}:{str(path).replace('%', '%%')}\n"
        for name, path in credentials.items()
    )
    options = [f"--{name}=${{CREDENTIALS_DIRECTORY}}/{name}" for name in credentials]
    return _unit(
        role,
        [f"--state-dir={_escaped(str(state_dir))}", *options],
        f"{files}DynamicUser=yes\nUser=tunnelmesh{'' if role == 'peer' else '-coordinator'}\n"
        f"StateDirectory={_escaped(str(state_dir.relative_to(STATE)))}\nStateDirectoryMode=0700\n"
        f"{_PEER if role == 'peer' else _COORDINATOR}{_CONFINED}{_FENCED}",
        "multi-user.target",
    )


def user_unit(role: Role, state_dir: Path, config: Path) -> str:
    """A unit for one user's own systemd, which has no rights to give."""
    words = [f"--state-dir={state_dir}", f"--config={config}"]
    return _unit(role, [_escaped(word) for word in words], _CONFINED, "default.target")


def _unit(role: Role, options: Sequence[str], confined: str, target: str) -> str:
    return f"""\
# Written by 'tunnelmesh service install'; change it with 'systemctl edit {NAMES[role]}'.
[Unit]
Description=TunnelMesh {role}
{_ORDER[role]}

[Service]
Type=exec
ExecStart={" ".join([*map(_escaped, _twistd()), "-n", "tunnelmesh", f"--role={role}", *options])}
Restart=on-failure
RestartSec=2
RestartPreventExitStatus={WRONG_USAGE} {ExpelledError.status}
{confined}
[Install]
WantedBy={target}
"""


def _twistd() -> list[str]:
    beside = Path(sys.executable).parent / "twistd"
    if beside.exists():
        return [str(beside)]
    return [sys.executable, "-P", "-c", "from twisted.scripts.twistd import run; run()"]


def _escaped(word: str) -> str:
    """A word of a command line as systemd.service(5) has it."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"' if set(word) & set(" \"';\\") else word
