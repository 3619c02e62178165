"""The ``tunnelmesh`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

COMMANDS = {
    "up": "up",
    "down": "background",
    "service": "service",
    "status": "status",
    "peers": "status",
    "ping": "ping",
    "netcheck": "netcheck",
    "explain": "explain",
    "history": "explain",
    "nc": "nc",
    "forward": "forward",
    "forget": "forget",
    "metrics": "metrics",
    "rename": "members",
    "leave": "leave",
    "ssh-config": "ssh_config",
    "completion": "completion",
    "invite": "invite",
    "members": "members",
    "revoke": "members",
    "dashboard": "dashboard",
    "policy": "policy",
    "demo": "demo",
    "lab": "lab",
}
"""Each command, in the order of the help, and the module that has it."""

_FIRST_STEPS = """\
first steps:
  on a machine with a public address:  twistd -n tunnelmesh --role=coordinator
                                       tunnelmesh invite
  on each machine to join:             tunnelmesh up --join TOKEN
  see it work on this machine alone:   tunnelmesh demo
"""


def _parser(modules: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tunnelmesh",
        description="Two machines behind NAT reach each other, by name, always.",
        epilog=_FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-V", "--version", action="version", version=f"TunnelMesh {version('tunnelmesh')}"
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in dict.fromkeys(modules):
        import_module(f"tunnelmesh.cli.{module}").add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    :returns: the exit status: 0, or 1 after a line on standard error; argparse exits with 2 itself.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    # A command that is named is the only one loaded: 'status' needs neither NATs nor a database.
    named = COMMANDS.get(words[0]) if words else None
    args = _parser(list(COMMANDS.values()) if named is None else [named]).parse_args(words)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
