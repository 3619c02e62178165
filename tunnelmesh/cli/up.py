"""``tunnelmesh up``: the peer in the foreground."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

_TWISTD = "from twisted.scripts.twistd import run; run()"
_WORDS = ("--nodaemon", "--pidfile=", "tunnelmesh", "--role=peer")
_OPTIONS = (
    *("join", "name", "state-dir", "mode", "tun-name", "udp-port", "proxy", "config"),
    *("relay-only", "relay-only-peers", "direct-only-peers", "advertise", "no-port-mapping"),
)

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "up",
        help="run this machine's peer; joins if given a token",
        description="Run this machine's peer in the foreground, until Ctrl-C. The first time, give "
        "the token that 'tunnelmesh invite' printed on the coordinator.",
    )
    parser.add_argument("token", nargs="?", metavar="TOKEN", help="the same as --join")
    parser.add_argument("--join", metavar="TOKEN", help="invitation; needed the first time only")
    parser.add_argument("--name", help="this machine's name in the mesh [its host name]")
    parser.add_argument("--state-dir", metavar="DIR", type=Path)
    parser.add_argument("--mode", choices=("auto", "tun", "userspace"))
    parser.add_argument("--tun-name", metavar="NAME")
    parser.add_argument("--udp-port", metavar="PORT")
    parser.add_argument("--proxy", metavar="auto|none|URL")
    parser.add_argument("--relay-only", action="store_true")
    parser.add_argument("--relay-only-peers", metavar="NAMES")
    parser.add_argument("--direct-only-peers", metavar="NAMES")
    parser.add_argument("--advertise", metavar="HOST:PORT")
    parser.add_argument("--no-port-mapping", action="store_true")
    parser.add_argument("--config", metavar="FILE", type=Path)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Become twistd."""
    if args.token is not None and args.join is not None:
        print("tunnelmesh: the token is given twice", file=sys.stderr)
        return 2
    args.join = args.join or args.token
    options = []
    for name in _OPTIONS:
        value = getattr(args, name.replace("-", "_"))
        if value is True:
            options.append(f"--{name}")
        elif value not in (None, False):
            options.append(f"--{name}={value}")
    # exec, so that signals, the exit status and the memory are twistd's own.
    os.execv(sys.executable, [sys.executable, "-P", "-c", _TWISTD, *_WORDS, *options])
    return 1
