"""``tunnelmesh up``: the peer, in the foreground or in the background."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from tunnelmesh.cli import options
from tunnelmesh.cli.background import LOG, PID, detach
from tunnelmesh.cli.example import example
from tunnelmesh.config import PeerConfig, load
from tunnelmesh.errors import ConfigError, TunnelMeshError

TWISTD = [sys.executable, "-P", "-c", "from twisted.scripts.twistd import run; run()"]

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "up",
        help="run this machine's peer; joins if given a token",
        description="Run this machine's peer in the foreground, until Ctrl-C, or in the\n"
        "background. The first time, give the token that 'tunnelmesh invite' printed on\n"
        "the coordinator.",
        **example(
            "tunnelmesh up --join TOKEN        the first time",
            "tunnelmesh up                     from then on",
            "tunnelmesh up --detach            in the background, until 'tunnelmesh down'",
            "tunnelmesh up --mode=userspace --expose=22    without root",
        ),
    )
    parser.add_argument("token", nargs="?", metavar="TOKEN", help="the same as --join")
    parser.add_argument(
        "-d", "--detach", action="store_true", help="run in the background, once it is linked"
    )
    options.add_settings(parser, PeerConfig)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Become twistd, or leave one behind."""
    if args.token is not None and args.join is not None:
        print("tunnelmesh: the token is given twice", file=sys.stderr)
        return 2
    args.join = args.join or args.token
    told = options.given(args, PeerConfig)
    try:
        config = load(PeerConfig, told, args.config)
    except ConfigError as error:
        print(f"tunnelmesh: {error} (see tunnelmesh up --help)", file=sys.stderr)
        return 2
    if args.config is not None:
        told["config"] = args.config.absolute()
    ours = ["tunnelmesh", "--role=peer", *options.words(told)]
    if args.detach:
        state_dir = config.state_dir
        files = [f"--pidfile={state_dir / PID}", f"--logfile={state_dir / LOG}"]
        try:
            said = detach([*TWISTD, "--nodaemon", *files, *ours], state_dir)
        except TunnelMeshError as error:
            print(f"tunnelmesh: {error}", file=sys.stderr)
            return 1
        print(f"{said}; log: {state_dir / LOG}")
        return 0
    twistd = [*TWISTD, "--nodaemon", "--pidfile="]
    if sys.stdout.isatty():
        twistd.append("--logger=tunnelmesh.cli.progress.observer")
        print(
            f"{config.name} is starting; Ctrl-C ends it. Elsewhere: tunnelmesh status", flush=True
        )
    # exec, so that signals, the exit status and the memory are twistd's own.
    os.execv(sys.executable, [*twistd, *ours])
    return 1
