"""``tunnelmesh leave``: be no member of the mesh any more."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tunnelmesh.cli.ask import add_arguments, command, tell
from tunnelmesh.cli.example import example
from tunnelmesh.config import default_state_dir
from tunnelmesh.errors import NotRunningError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "leave",
        help="take this machine out of the mesh, and stop",
        description="Take this machine out of the mesh: the coordinator and the others are told,\n"
        "the membership is forgotten, and the service stops. The key stays, so that the\n"
        "machine is known again if it joins again.",
        **example("tunnelmesh leave", "tunnelmesh leave --force     where no coordinator answers"),
    )
    parser.add_argument(
        "--force", action="store_true", help="also if the coordinator cannot be told"
    )
    add_arguments(parser, json_too=False)
    parser.set_defaults(run=command(_leave))


def _leave(args: argparse.Namespace) -> int:
    try:
        done = tell(args.state_dir, "leave", **({"force": "yes"} if args.force else {}))
    except NotRunningError as error:
        state_dir = (args.state_dir or default_state_dir()).expanduser().absolute()
        name = _forget(state_dir, error)
        told = False
    else:
        name, told = done["name"], done["told"]
    print(f"{name} has left the mesh; the service is stopped, and the key is kept")
    if not told:
        print(
            "the coordinator was not told: if this machine is on its list still, have"
            f" 'tunnelmesh revoke {name}' run there"
        )
    return 0


def _forget(state_dir: Path, error: NotRunningError) -> str:
    """Forget a membership that no service uses.

    :returns: the name that this machine had.
    :raises NotRunningError: if there is no membership either.
    """
    # Imported here, as a running service needs none of it.
    from tunnelmesh.peer import membership as memberships

    membership = memberships.load(state_dir)
    if membership is None:
        raise error
    memberships.forget(state_dir)
    return membership.name
