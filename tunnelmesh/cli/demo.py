"""``tunnelmesh demo``: the whole story on this machine, in front of your eyes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser("demo", help="see it work on this machine alone")
    parser.set_defaults(run=_demo)


def _demo(args: argparse.Namespace) -> int:
    from tunnelmesh.lab.kernel import available

    print(available() or "a laboratory can be built here")
    return 0
