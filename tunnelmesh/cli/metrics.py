"""``tunnelmesh metrics``: what Prometheus would get."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tunnelmesh.cli.ask import add_arguments, ask, command
from tunnelmesh.cli.example import example
from tunnelmesh.config import default_state_dir

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "metrics",
        help="print this machine's metrics, as Prometheus gets them",
        description="Print the metrics of the peer or the coordinator that runs on this machine. "
        "It need not have been started with --metrics.",
        **example("tunnelmesh metrics | grep rtt", "tunnelmesh metrics --token"),
    )
    parser.add_argument(
        "--token", action="store_true", help="print the token that a Prometheus elsewhere needs"
    )
    add_arguments(parser, json_too=False)
    parser.set_defaults(run=command(_metrics))


def _metrics(args: argparse.Namespace) -> int:
    if args.token:
        from tunnelmesh.metrics import token

        state_dir = (args.state_dir or default_state_dir()).expanduser().absolute()
        print(token.load(state_dir))
    else:
        print(ask(args.state_dir, "metrics")["text"], end="")
    return 0
