"""The settings of a role as options of a command: made from its fields, so that none is missing."""

from __future__ import annotations

import argparse
from pathlib import Path

from tunnelmesh.config import Config, settings


def add_settings(parser: argparse.ArgumentParser, *roles: type[Config]) -> None:
    """Take every setting of a role, or of several, and ``--config``."""
    group = parser.add_argument_group("settings", "see docs/settings.md for what they do")
    group.add_argument("--config", type=Path, metavar="FILE", help="TOML file of these settings")
    known = {name: setting for role in roles for name, setting in settings(role).items()}
    for name, setting in known.items():
        metavar, help = setting.metadata["metavar"], setting.metadata["help"].replace("%", "%%")
        if metavar:
            group.add_argument(f"--{name}", metavar=metavar, help=help)
        else:
            group.add_argument(f"--{name}", action="store_true", default=None, help=help)


def given(args: argparse.Namespace, role: type[Config]) -> dict[str, object]:
    """The settings that were given on the command line, by the name that people type."""
    values = {name: getattr(args, setting.name) for name, setting in settings(role).items()}
    return {name: value for name, value in values.items() if value is not None}


def words(settings: dict[str, object]) -> list[str]:
    """The same as words of a command line."""
    return [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in settings.items()
    ]
