"""``tunnelmesh ssh-config``: so that ``ssh homelab`` works, with or without a network device."""

from __future__ import annotations

import argparse
import os
import pwd
import secrets
import shlex
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunnelmesh.cli.ask import add_arguments, ask, command
from tunnelmesh.cli.example import example
from tunnelmesh.errors import ConfigError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

FILE = "tunnelmesh_config"
"""Our file beside ssh's own, which includes it."""

INCLUDE = f"Include {FILE}"
"""The line that does. ssh looks for such a file in ``~/.ssh``."""

BACKUP = "config.before-tunnelmesh"

LARGEST = 1 << 20
"""Bytes of a configuration that somebody may have written."""

DOMAIN = "mesh"


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "ssh-config",
        help="print what ~/.ssh/config needs for 'ssh homelab'",
        description="Print the lines of ~/.ssh/config with which ssh reaches the peers by name. "
        "Where there is no network device, ssh goes through 'tunnelmesh nc'; a host's key is kept "
        "under NAME.mesh in any case. Run it again when peers have joined.",
        **example(
            "tunnelmesh ssh-config --install",
            "tunnelmesh ssh-config --user admin > ~/.ssh/tunnelmesh_config",
        ),
    )
    parser.add_argument("--user", metavar="USER", type=_user, help="the user to be there")
    parser.add_argument(
        "--install",
        action="store_true",
        help=f"write ~/.ssh/{FILE}, and have ~/.ssh/config include it",
    )
    add_arguments(parser, json_too=False)
    parser.set_defaults(run=command(_ssh_config))


def _ssh_config(args: argparse.Namespace) -> int:
    status = ask(args.state_dir, "status")
    if status["role"] != "peer":
        raise ConfigError("this is a coordinator: run it where a peer runs")
    text = snippet(status, args.user, _nc(args.state_dir))
    if not args.install:
        print(text, end="")
        return 0
    if os.geteuid() == 0 and os.environ.get("SUDO_USER", "root") != "root":
        raise ConfigError(
            f"as root this would be root's configuration: as yourself, sudo tunnelmesh ssh-config "
            f"> ~/.ssh/{FILE}, and put '{INCLUDE}' at the top of ~/.ssh/config"
        )
    # Not $HOME: ssh asks for the home directory in the same way.
    for line in install(Path(pwd.getpwuid(os.geteuid()).pw_dir, ".ssh"), text):
        print(line)
    return 0


def snippet(status: dict[str, Any], user: str | None, nc: str) -> str:
    """The lines for ``ssh_config(5)``.

    With a network device, hosts have their mesh addresses there: that works for every user of the
    machine, and where names do not resolve. Without one, ssh goes through a stream.

    :param status: the peer's.
    :param nc: the command before host and port.
    """
    lines = ["# Made by 'tunnelmesh ssh-config': changes are lost when it runs again."]
    login = [] if user is None else [f"    User {user}"]
    peers = status["peers"]
    if status["mode"] == "tun":
        for peer in peers:
            name = peer["name"]
            lines += [
                *("", f"Host {name} {name}.{DOMAIN}"),
                f"    HostName {peer['address']}",
                f"    HostKeyAlias {name}.{DOMAIN}",
                *login,
            ]
    else:
        if peers:
            names = " ".join(peer["name"] for peer in peers)
            lines += ["", f"Host {names}", f"    HostName %h.{DOMAIN}"]
        # Unlike Host, this looks at the name that HostName made.
        lines += ["", f"Match host *.{DOMAIN}", f"    ProxyCommand {nc} %h %p", *login]
    return "\n".join(lines) + "\n"


def install(folder: Path, text: str) -> Sequence[str]:
    """Write our file, and have ssh's own include it, once.

    :param folder: ``~/.ssh``.
    :returns: what was done, for people.
    :raises ConfigError: if a file there is not what ssh would have.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        config, ours = folder / "config", folder / FILE
        before = _read(config)
        _read(ours)
        _replace(ours, text.encode(), 0o600)
        told = [f"wrote {ours}"]
        if INCLUDE.encode() not in before.splitlines():
            if before:
                _replace(folder / BACKUP, before, 0o600)
                told.append(f"kept {config} as it was as {folder / BACKUP}")
            mode = stat.S_IMODE(config.stat().st_mode) if config.exists() else 0o600
            # At the top: below a Host line, it would be for that host only.
            _replace(config, f"{INCLUDE}\n\n".encode() + before, mode)
            told.append(f"put '{INCLUDE}' at the top of {config}")
    except OSError as error:
        raise ConfigError(f"cannot write in {folder}: {error.strerror}") from None
    return told


def _read(path: Path) -> bytes:
    """What is in a file of ours; nothing if there is none."""
    try:
        told = path.lstat()
    except FileNotFoundError:
        return b""
    odd = None
    if not stat.S_ISREG(told.st_mode):
        odd = "is a link, or no file"
    elif told.st_uid != os.geteuid():
        odd = "belongs to somebody else"
    elif told.st_mode & 0o022:
        odd = "may be written by others"
    elif told.st_size > LARGEST:
        odd = "is very large"
    if odd is not None:
        raise ConfigError(
            f"{path} {odd}, so it is left alone: write the output of 'tunnelmesh ssh-config' "
            f"where you want it, and include it from your configuration"
        )
    return path.read_bytes()


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Put a whole file in the place of another."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _nc(state_dir: Path | None) -> str:
    """``tunnelmesh nc`` as ssh is to call it, from wherever."""
    program = Path(sys.argv[0]).absolute()
    if program.name != "tunnelmesh":
        program = Path(sys.executable).with_name("tunnelmesh")
    words = [str(program), "nc"]
    if state_dir is not None:
        words += ["--state-dir", str(state_dir.expanduser().absolute())]
    return shlex.join(words).replace("%", "%%")


def _user(text: str) -> str:
    if not text.isprintable() or not text or set(text) & set(" \"'#\\"):
        raise argparse.ArgumentTypeError("must be the name of a user")
    return text
