"""``tunnelmesh service``: let systemd run the peer or the coordinator."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunnelmesh.cli import options
from tunnelmesh.cli.ask import ask, command
from tunnelmesh.cli.background import PATIENCE, POLL, detach, stop
from tunnelmesh.cli.example import example
from tunnelmesh.cli.systemd import POLKIT, Place, is_booted, toml, write
from tunnelmesh.cli.unit import NAMES, STATE, WRONG_USAGE, Role, system_unit, user_unit
from tunnelmesh.cli.up import TWISTD
from tunnelmesh.config import Config, CoordinatorConfig, PeerConfig, default_state_dir, load
from tunnelmesh.errors import ConfigError, NotRunningError, TunnelMeshError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

HOMES = (Path("/home"), Path("/root"))
"""What services do not see."""

_ROLES: Mapping[Role, type[Config]] = {"peer": PeerConfig, "coordinator": CoordinatorConfig}

_FILES = ("tls-certificate", "tls-key")
"""Settings that name files which only root may read."""


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "service",
        help="let systemd run the peer or the coordinator",
        description="Install, remove or look at a systemd unit that runs TunnelMesh under a user\n"
        "of its own, with no more rights than it needs.",
        **example(
            "sudo tunnelmesh service install --join TOKEN",
            "sudo tunnelmesh service install --role=coordinator --public-host=vpn.example.org",
            "tunnelmesh service install --user-unit --join TOKEN --expose=22",
            "sudo tunnelmesh service uninstall",
        ),
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    install = actions.add_parser(
        "install",
        help="write a unit, and start it",
        description="Write a unit, have systemd start it now and with the machine, and wait\n"
        "until it is linked. The settings go into a file that root alone may read;\n"
        "with --join this machine joins first, and the token is kept nowhere.",
        **example(
            "sudo tunnelmesh service install --join TOKEN --udp-port=51820",
            "tunnelmesh service install --print",
        ),
    )
    install.add_argument("--print", action="store_true", help="print the unit, and change nothing")
    _add_which(install)
    options.add_settings(install, PeerConfig, CoordinatorConfig)
    install.set_defaults(run=command(_install))
    for name, text, act in (
        (
            "uninstall",
            "stop the service and remove its unit and settings; the state stays",
            _remove,
        ),
        ("status", "say whether systemd runs it", _status),
    ):
        action = actions.add_parser(
            name, help=text, description=text, **example(f"tunnelmesh service {name}")
        )
        _add_which(action)
        if act is _status:
            action.add_argument("--json", action="store_true", help="print JSON, for programs")
        action.set_defaults(run=command(act))


def _add_which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--role", choices=tuple(_ROLES), default="peer", help="which service [peer]"
    )
    parser.add_argument(
        "--user-unit", action="store_true", help="of your own systemd, without root"
    )


def _install(args: argparse.Namespace) -> int:
    place = Place(args.role, args.user_unit)
    try:
        settings, state_dir = _settings(args)
    except ConfigError as error:
        print(f"tunnelmesh: {error}", file=sys.stderr)
        return WRONG_USAGE
    token = settings.pop("join", None)
    credentials = {name: Path(str(settings.pop(name))) for name in _FILES if name in settings}
    if place.of_user:
        settings |= {name: str(path) for name, path in credentials.items()}
        unit = user_unit(args.role, state_dir, place.config)
    else:
        unit = system_unit(args.role, state_dir, {"config": place.config} | credentials)
    if args.print:
        print(unit, end="")
        return 0
    place.may_write()
    if not place.of_user:
        _see_that_it_can_run(place, state_dir)
    if is_booted() and place.systemctl("is-active", place.name) != "active":
        with suppress(NotRunningError):
            ask(state_dir, "status")
            raise TunnelMeshError(
                f"TunnelMesh already runs with the state directory {state_dir}: stop it with "
                "'tunnelmesh down'"
            )
    if args.role == "peer":
        _join(settings, token, state_dir)
    write(place.config, "".join(f"{key} = {toml(v)}\n" for key, v in settings.items()), 0o600)
    write(place.unit, unit, 0o644)
    if place.polkit is not None:
        write(place.polkit, POLKIT, 0o644)
    if not is_booted():
        print(f"{place.unit} is written; systemd does not run here. Where it does, say")
        print(f"  systemctl {'--user ' if place.of_user else ''}enable --now {place.name}")
        return 0
    for words in (["daemon-reload"], ["enable", place.name], ["restart", place.name]):
        place.systemctl(*words)
    print(_until_it_runs(place, args.role, state_dir))
    if place.of_user:
        print("To have it run without you being signed in: loginctl enable-linger")
    return 0


def _settings(args: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """What the service is to be told, from the file that was named and the options that were given,
    and its state directory.

    :raises ConfigError: if it would not take it.
    """
    role = _ROLES[args.role]
    others = _ROLES["coordinator" if args.role == "peer" else "peer"]
    given = options.given(args, role)
    for name in options.given(args, others).keys() - given.keys():
        raise ConfigError(f"--{name} is not a setting of a {args.role}")
    config = load(role, given, args.config)
    settings: dict[str, Any] = {}
    if args.config is not None:
        settings = tomllib.loads(args.config.read_text("utf-8"))
    settings |= given
    state_dir = settings.pop("state-dir", None)
    if settings.pop("user", None) is not None:
        raise ConfigError("--user: the unit has a user of its own already")
    for name in _PATHS & settings.keys():
        settings[name] = str(getattr(config, name.replace("-", "_")))
    if args.user_unit:
        if args.role == "peer":
            settings.setdefault("mode", "userspace")
        return settings, config.state_dir if state_dir else default_state_dir()
    where = Path(os.path.normpath(config.state_dir)) if state_dir else STATE / "tunnelmesh"
    if STATE not in where.parents:
        raise ConfigError(f"--state-dir: systemd keeps its services' state below {STATE}")
    return settings, where


_PATHS = {*_FILES, "policy"}
"""Settings that are paths, which the service must have whole."""


def _see_that_it_can_run(place: Place, state_dir: Path) -> None:
    """:raises TunnelMeshError: if the unit would fail, or get in another's way."""
    for prefix in (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()):
        if any(home in prefix.parents for home in HOMES):
            raise TunnelMeshError(
                f"services cannot read {prefix}: install TunnelMesh outside of homes, such as in "
                "/opt/tunnelmesh, or give --user-unit"
            )
    for name in set(NAMES.values()) - {place.name}:
        other = place.unit.with_name(name)
        if other.exists() and f"--state-dir={state_dir} " in other.read_text():
            raise TunnelMeshError(
                f"{name} has its state in {state_dir}: give this one --state-dir={state_dir}-2"
            )


def _join(settings: Mapping[str, Any], token: object, state_dir: Path) -> None:
    """Join, if that has not been done: here, so that what is wrong is told here.

    :raises TunnelMeshError: if it cannot.
    """
    if (state_dir / "membership.json").exists():
        return
    if token is None:
        raise TunnelMeshError(
            "this machine has not joined a mesh yet: run 'tunnelmesh invite' on the coordinator "
            "and give what it prints with --join=TOKEN"
        )
    with tempfile.TemporaryDirectory(prefix="tunnelmesh-") as folder:
        # Not on a command line, which everybody can see.
        told = {k: settings[k] for k in ("name", "proxy") if k in settings} | {"join": token}
        config = Path(folder) / "join.toml"
        write(config, "".join(f"{key} = {toml(value)}\n" for key, value in told.items()), 0o600)
        ours = ["tunnelmesh", "--role=peer", "--mode=userspace", "--no-port-mapping"]
        words = [f"--state-dir={state_dir}", f"--config={config}"]
        try:
            detach([*TWISTD, "--nodaemon", "--pidfile=", *ours, *words], state_dir)
        finally:
            with suppress(NotRunningError):
                stop(state_dir)


def _until_it_runs(place: Place, role: str, state_dir: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(TunnelMeshError):
            status = ask(state_dir, "status")
            if role == "coordinator":
                return f"the coordinator runs at {status['listen']['host']}"
            if status["coordinator"]["link"] is not None:
                return f"{status['name']} ({status['address']}) runs, and will with the machine"
        if place.systemctl("is-active", place.name) == "failed":
            break
        time.sleep(POLL)
    journal = "journalctl --user" if place.of_user else "journalctl"
    raise TunnelMeshError(f"{place.name} does not run yet: see '{journal} -u {place.name}'")


def _remove(args: argparse.Namespace) -> int:
    place = Place(args.role, args.user_unit)
    place.may_write()
    if not place.unit.exists():
        raise TunnelMeshError(f"there is no {place.unit}")
    if is_booted():
        place.systemctl("disable", "--now", place.name)
    place.unit.unlink()
    place.config.unlink(missing_ok=True)
    if place.polkit is not None:
        place.polkit.unlink(missing_ok=True)
    if is_booted():
        place.systemctl("daemon-reload")
    print(f"{place.name} is gone; its key and state are kept")
    return 0


def _status(args: argparse.Namespace) -> int:
    place = Place(args.role, args.user_unit)
    installed, booted = place.unit.exists(), is_booted()
    asked = installed and booted
    enabled = place.systemctl("is-enabled", place.name) if asked else None
    active = place.systemctl("is-active", place.name) if asked else None
    if args.json:
        told = {"unit": str(place.unit), "installed": installed}
        print(json.dumps(told | {"enabled": enabled, "active": active}, indent=2))
    elif not installed:
        print(f"{place.name} is not installed")
    elif not booted:
        print(f"{place.unit} is there; systemd does not run here")
    else:
        print(f"{place.name} is {active}, and {enabled} at the start of the machine")
    return 0 if active == "active" else 1
