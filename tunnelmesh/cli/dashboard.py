"""``tunnelmesh dashboard``: a link that signs a browser in."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tunnelmesh.cli.ask import add_arguments, ask, command
from tunnelmesh.cli.example import example

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "dashboard",
        help="on the coordinator: print a link that signs a browser in",
        description="Print a link, alone, on standard output: who opens it within ten minutes sees"
        " the mesh in a browser, and can invite and remove machines. It works once."
        " Run this on the coordinator's machine.",
        **example("tunnelmesh dashboard"),
    )
    add_arguments(parser)
    parser.set_defaults(run=command(run))


def run(args: argparse.Namespace) -> int:
    """Print a link.

    :returns: the exit status.
    """
    answer = ask(args.state_dir, "dashboard")
    if args.json:
        import json

        print(json.dumps(answer))
        return 0
    print(answer["url"])
    minutes = round(answer["seconds"] / 60)
    notes = [f"Works once, within {minutes} minutes. Whoever opens it can change the mesh."]
    if answer["self_signed"]:
        notes += [
            "Your browser does not know this coordinator's certificate, and warns. Go on only if",
            "the certificate that it shows has this SHA-256 fingerprint:",
            *_folded(answer["certificate"]),
            "No warning with a certificate of your own: --tls-certificate, --tls-key.",
        ]
    print("\n".join(notes), file=sys.stderr)
    return 0


def _folded(fingerprint: str) -> list[str]:
    """As browsers show it: two lines."""
    pairs = fingerprint.split(":")
    return ["  " + ":".join(pairs[:16]), "  " + ":".join(pairs[16:])]
