"""``tunnelmesh demo``: the whole story on this machine, in front of your eyes."""

from __future__ import annotations

import argparse
import io
import sys
from typing import TYPE_CHECKING

from tunnelmesh.cli.ask import command
from tunnelmesh.cli.example import example

if TYPE_CHECKING:
    from tunnelmesh.lab.demo.stage import Stage

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

KINDS = ("port-restricted", "restricted-cone")
"""What the two machines are behind if not told otherwise: a direct path takes true punching."""

_NEXT = """
Everything is taken down again. Now between your own machines:
  on a server with a public address   twistd -n tunnelmesh --role=coordinator
                                      tunnelmesh invite --uses=2
  on each machine                     tunnelmesh up --join TOKEN"""


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    from tunnelmesh.lab.kernel import KINDS as ALL

    parser = subparsers.add_parser(
        "demo",
        help="see it work on this machine alone",
        description="Build a small internet inside this machine, with two machines behind NATs of "
        "their own; let them meet, fetch a file, break their path, and take it all down again. "
        "Takes less than 20 seconds, changes nothing, and needs no network. "
        f"Kinds of NAT: {', '.join(ALL)}.",
        **example("tunnelmesh demo", "tunnelmesh demo --nat symmetric full-cone"),
    )
    parser.add_argument(
        "--nat",
        nargs=2,
        metavar=("A", "B"),
        choices=ALL,
        default=KINDS,
        help=f"what the two machines are behind [{' '.join(KINDS)}]",
    )
    parser.add_argument(
        "--plain", action="store_true", help="print lines only, as when not on a terminal"
    )
    parser.set_defaults(run=command(_demo))


def _demo(args: argparse.Namespace) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the picture, where the locale is not UTF-8
    live = sys.stdout.isatty() and not args.plain
    stage = _stage(args.nat[0], args.nat[1], paced=live)
    # Imported late: :func:`_stage` may start this program again.
    from rich.console import Console

    from tunnelmesh.lab.demo.story import Story
    from tunnelmesh.lab.demo.view import View

    view = View(Console(highlight=False), live)
    view.say(stage.about)
    try:
        with stage, view:
            intact = Story(stage, view).play()
    except KeyboardInterrupt:
        view.say("Interrupted; everything is taken down.")
        raise
    view.say(_NEXT)
    return 0 if intact else 1


def _stage(one: str, other: str, paced: bool) -> Stage:
    """Real NATs if they can be had, in a user namespace if need be; else simulated ones."""
    from tunnelmesh.errors import LabError
    from tunnelmesh.lab.demo.kernel import KernelStage, missing
    from tunnelmesh.lab.kernel import reenter

    try:
        reenter()
        lacks = missing()
    except LabError as error:
        lacks = str(error)
    if lacks is None:
        return KernelStage((one, other))
    from tunnelmesh.lab.demo.simulated import SimulatedStage

    return SimulatedStage((one, other), paced, lacks)
