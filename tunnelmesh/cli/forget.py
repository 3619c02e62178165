"""``tunnelmesh forget``: accept that a peer has a new key."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tunnelmesh.cli.ask import add_arguments, ask, command
from tunnelmesh.cli.example import example

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "forget",
        help="accept that a peer has a new key",
        description="Drop the key pinned for a name, so that the next one offered is believed. "
        "Compare fingerprints with the peer's owner first.",
        **example("tunnelmesh forget homelab"),
    )
    parser.add_argument("peer", metavar="NAME")
    add_arguments(parser, json_too=False)
    parser.set_defaults(run=command(_forget))


def _forget(args: argparse.Namespace) -> int:
    ask(args.state_dir, "forget", peer=args.peer)
    print(f"the next key offered for {args.peer} will be believed")
    return 0
