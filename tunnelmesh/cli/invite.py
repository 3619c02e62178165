"""``tunnelmesh invite``: let a machine in."""

from __future__ import annotations

import argparse
import re
import secrets
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tunnelmesh.cli.ask import command
from tunnelmesh.cli.example import example
from tunnelmesh.cli.status import print_table
from tunnelmesh.cli.style import is_coloured
from tunnelmesh.config import default_state_dir
from tunnelmesh.errors import TunnelMeshError
from tunnelmesh.peer.answers.absence import age

if TYPE_CHECKING:
    from tunnelmesh.coordinator.advertised import Advertised
    from tunnelmesh.coordinator.sqlite import SQLiteStore

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

T = TypeVar("T")

MOST_USES = 100_000
"""More machines than a mesh has addresses."""

LONGEST = 365 * 86400
"""Longest life of an invitation, in seconds: what lives longer is a password."""

_SECONDS = {"m": 60, "h": 3600, "d": 86400}


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "invite",
        help="on the coordinator: print a token that lets a machine join",
        description="Print a token, alone, on standard output. A machine joins with\n"
        "'tunnelmesh up --join TOKEN'. Run this on the coordinator's machine.",
        **example(
            "tunnelmesh invite",
            "tunnelmesh invite --uses=10 --expires=2d",
            "tunnelmesh invite --qr",
            "tunnelmesh invite --list",
            "tunnelmesh invite --cancel 3",
        ),
    )
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="the coordinator's")
    parser.add_argument(
        "--uses", type=_uses, default=1, metavar="N", help="how many machines may use it [1]"
    )
    parser.add_argument(
        "--expires",
        type=_duration,
        default="1h",
        metavar="TIME",
        help="when it ends: 30m, 1h or 2d from now [1h]",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--qr", action="store_true", help="draw the token as a QR code too, on standard error"
    )
    instead.add_argument(
        "--list", action="store_true", help="list the invitations that let somebody in still"
    )
    instead.add_argument("--cancel", type=int, metavar="NUMBER", help="end one of them")
    parser.set_defaults(run=command(run))


def run(args: argparse.Namespace) -> int:
    """Print a token, or what became of others.

    :returns: the exit status.
    """
    # Imported here, as the other commands need no database.
    from tunnelmesh.coordinator.advertised import Advertised

    state_dir = (args.state_dir or default_state_dir()).expanduser().absolute()
    coordinator = Advertised.load(state_dir)
    if args.list:
        _list(state_dir)
    elif args.cancel is not None:
        if not _in_store(state_dir, lambda store: store.cancel(args.cancel)):
            raise TunnelMeshError(
                f"there is no invitation {args.cancel}: see 'tunnelmesh invite --list'"
            )
        print(f"invitation {args.cancel} lets nobody in any more")
    else:
        token = _invite(state_dir, coordinator, args.uses, args.expires)
        print(token, flush=True)
        if args.qr:
            _draw(token)
    return 0


def _list(state_dir: Path) -> None:
    now = time.time()
    invitations = _in_store(state_dir, lambda store: store.invitations(int(now)))
    if not invitations:
        print("no invitation lets anybody in")
        return
    print_table(
        ("NUMBER", "MACHINES", "ENDS IN"),
        [(str(each.number), str(each.uses_left), age(each.expires - now)) for each in invitations],
    )


def _draw(token: str) -> None:
    from tunnelmesh.cli import qr

    for line in qr.lines(token, coloured=is_coloured(sys.stderr)):
        print(line, file=sys.stderr)


def _invite(state_dir: Path, coordinator: Advertised, uses: int, seconds: int) -> str:
    from tunnelmesh.identity import FILE_NAME, Identity
    from tunnelmesh.wire.token import Token

    key = Identity.load(state_dir / FILE_NAME).public_key
    now = int(time.time())
    token = Token(
        coordinator.host,
        coordinator.https_port,
        coordinator.ssh_port,
        coordinator.tls_by_name,
        key,
        secrets.token_bytes(16),
        now + seconds,
    )
    text = token.encode()
    _in_store(state_dir, lambda store: store.invite(token.secret, uses, token.expires, now))
    return text


def _in_store(state_dir: Path, act: Callable[[SQLiteStore], Coroutine[Any, Any, T]]) -> T:
    """What something does with the database, which the running coordinator uses as well."""
    from tunnelmesh.coordinator import sqlite

    store = sqlite.SQLiteStore(state_dir / sqlite.FILE_NAME)
    try:
        # SQLite waits for nothing, so that no reactor is needed: the first step is the last.
        act(store).send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        store.close()
    raise AssertionError("the database waits for something")


def _uses(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:7]) <= MOST_USES:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a number from 1 to {MOST_USES}")


def _duration(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,6})([mhd])", text)
    if match is not None:
        seconds = int(match[1]) * _SECONDS[match[2]]
        if seconds <= LONGEST:
            return seconds
    raise argparse.ArgumentTypeError("must be such as 30m, 1h or 2d, and at most a year")
