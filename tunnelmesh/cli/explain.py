"""``tunnelmesh explain`` and ``tunnelmesh history``: why a pair is on its path, and since when."""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from typing import TYPE_CHECKING

from tunnelmesh.cli.ask import add_arguments, ask, command
from tunnelmesh.cli.example import example
from tunnelmesh.cli.status import print_table
from tunnelmesh.cli.words import WIDTH, headline, what_to_do

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_NOTHING = {
    True: "Nothing needs to be done.",
    False: "Nothing needs to be done: a better path is taken as soon as there is one.",
}
"""What is said without advice, by whether the path is direct."""


def add_parser(subparsers: Subparsers) -> None:
    """Say how the commands are called."""
    for name, help, act in (
        ("explain", "say why a peer is on the path it is on, and what would improve it", _explain),
        ("history", "list every change of the path to a peer, with cause and outage", _history),
    ):
        parser = subparsers.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}.",
            **example(f"tunnelmesh {name} homelab", f"tunnelmesh {name} 100.96.0.2 --json"),
        )
        parser.add_argument("peer", metavar="PEER", help="a name or a mesh address")
        add_arguments(parser)
        parser.set_defaults(run=command(act))


def _explain(args: argparse.Namespace) -> int:
    answer = ask(args.state_dir, "explain", peer=args.peer)
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    headline(answer["summary"])
    print("\nWhat is known:")
    for line in answer["evidence"]:
        print(textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    "))
    what_to_do(answer["advice"], _NOTHING[answer["path"] in ("udp", "tcp")])
    return 0


def _history(args: argparse.Namespace) -> int:
    changes = ask(args.state_dir, "history", peer=args.peer)
    if args.json:
        print(json.dumps(changes, indent=2))
        return 0
    if not changes:
        print(f"{args.peer}: no path so far")
        return 0
    rows = []
    for change in changes:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(change["at"]))
        outage = change["outage_ms"]
        cost = "not over yet" if outage is None else f"{outage} ms"
        rows.append((at, f"{change['from']} -> {change['to']}", cost, change["cause"]))
    print_table(("WHEN", "CHANGE", "OUTAGE", "CAUSE"), rows)
    return 0
