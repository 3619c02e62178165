"""``tunnelmesh invite``: let a machine in."""

from __future__ import annotations

import argparse
import re
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tunnelmesh.config import default_state_dir
from tunnelmesh.errors import TunnelMeshError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

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
        description="Print a token, alone, on standard output. A machine joins with"
        " 'tunnelmesh up --join TOKEN'. Run this on the coordinator's machine.",
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a token.

    :returns: the exit status.
    """
    try:
        state_dir = (args.state_dir or default_state_dir()).expanduser().absolute()
        print(_invite(state_dir, args.uses, args.expires))
    except TunnelMeshError as error:
        print(f"tunnelmesh: {error}", file=sys.stderr)
        return 1
    return 0


def _invite(state_dir: Path, uses: int, seconds: int) -> str:
    # Imported here, as the other commands need no database.
    from tunnelmesh.coordinator import sqlite
    from tunnelmesh.coordinator.advertised import Advertised
    from tunnelmesh.identity import FILE_NAME, Identity
    from tunnelmesh.wire.token import Token

    coordinator = Advertised.load(state_dir)
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
    store = sqlite.SQLiteStore(state_dir / sqlite.FILE_NAME)
    try:
        # SQLite waits for nothing, so that no reactor is needed: the first step is the last.
        store.invite(token.secret, uses, token.expires, now).send(None)
    except StopIteration:
        pass
    finally:
        store.close()
    return text


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
