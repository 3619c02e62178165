"""``tunnelmesh lab``: build, change and tear down a NAT laboratory."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from tunnelmesh.cli.example import example
from tunnelmesh.errors import LabError, TunnelMeshError
from tunnelmesh.lab.kernel import KINDS, World, connectable, punchable, reenter
from tunnelmesh.lab.kernel.control import ask, command_in, running, serve
from tunnelmesh.lab.kernel.picture import picture
from tunnelmesh.lab.kernel.record import records

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

WEB_PORTS = (80, 443, 8080, 8443)
"""What a web-only site passes here: the usual, and the coordinator's HTTPS port."""

PATIENCE = 10.0
"""Seconds that tearing down may take: mostly programs that are slow to end."""

CHANGES = {
    "show": ("draw the laboratory as it is now", [], ""),
    "change": ("make a site's gateway another kind", ["SITE", "KIND"], "home symmetric"),
    "block": ("drop all UDP, or one TCP port, at a site", ["SITE", "udp|tcp:PORT"], "home udp"),
    "unblock": ("drop nothing more at a site", ["SITE"], "home"),
    "roam": ("give a site another outside address", ["SITE"], "home"),
    "lose": ("lose a share of a site's packets; 0 ends it", ["SITE", "PERCENT"], "home 5"),
    "move": ("carry a host to another site", ["HOST", "SITE"], "laptop office"),
}
"""What can be done to a running laboratory, with which words, and an example of them."""


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "lab",
        help="build, change and tear down a NAT laboratory",
        description="Real NATs on this machine, in network namespaces: a coordinator's machine, "
        "and two hosts behind gateways of the kinds you choose. Works without root where user "
        "namespaces do.",
        **example(
            "tunnelmesh lab up port-restricted symmetric",
            "tunnelmesh lab exec laptop -- tunnelmesh status",
            "tunnelmesh lab block home udp",
        ),
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    up = _action(
        actions, "up", "build a laboratory and hold it until Ctrl-C", "port-restricted symmetric"
    )
    up.add_argument("home", metavar="A-KIND", choices=KINDS, help="the laptop's NAT")
    up.add_argument("office", metavar="B-KIND", choices=KINDS, help="the server's NAT")
    _action(actions, "kinds", "list the kinds of NAT there are")
    enter = _action(
        actions, "exec", "run a command on a host of the laboratory", "laptop -- tunnelmesh status"
    )
    enter.add_argument("host", metavar="HOST")
    enter.add_argument("argv", metavar="-- COMMAND", nargs=argparse.REMAINDER)
    for name, (text, words, typed) in CHANGES.items():
        change = _action(actions, name, text, typed)
        for word in words:
            change.add_argument("words", metavar=word, action="append")
        change.set_defaults(words=[])
    _action(actions, "down", "end the laboratory, and clear up after any that was killed")
    parser.set_defaults(run=run)


def _action(actions: Subparsers, name: str, text: str, words: str = "") -> argparse.ArgumentParser:
    """Say how an action is called.

    :param words: an example of what follows its name.
    """
    described = f"{text[0].upper()}{text[1:]}."
    typed = example(f"tunnelmesh lab {name} {words}".rstrip())
    return actions.add_parser(name, help=text, description=described, **typed)


def run(args: argparse.Namespace) -> int:
    """Do what was asked.

    :returns: the exit status.
    """
    try:
        if args.action in CHANGES:
            print(ask(running(), args.action, *args.words))
        elif args.action == "up":
            _up(args.home, args.office)
        elif args.action == "exec":
            _exec(args.host, args.argv)
        elif args.action == "kinds":
            _kinds()
        else:
            _down()
    except TunnelMeshError as error:
        print(f"tunnelmesh: {error}", file=sys.stderr)
        return 1
    return 0


def _up(home: str, office: str) -> None:
    reenter()
    try:
        with World() as world:
            world.add_site("home", home, web_ports=WEB_PORTS).add_host("laptop")
            world.add_site("office", office, web_ports=WEB_PORTS).add_host("server")
            print(picture(world))
            print(_prospects(home, office))
            print(
                f"""
Enter a host    tunnelmesh lab exec laptop
Run something   tunnelmesh lab exec laptop -- ping {world.coordinator.address}
Change it       tunnelmesh lab change home symmetric
                tunnelmesh lab block home udp
                tunnelmesh lab roam home
Ctrl-C ends it.""",
                flush=True,
            )
            serve(world)
    except KeyboardInterrupt:
        pass


def _prospects(home: str, office: str) -> str:
    one, other = KINDS[home], KINDS[office]
    if punchable(one, other):
        return "\nThese two can be punched: expect a direct path."
    if connectable(one, other):
        return "\nUDP does not pass between these two, but TCP does: expect a direct path over TCP."
    if one.udp and other.udp:
        return "\nPlain hole punching does not open these two."
    return "\nUDP does not pass between these two: expect a relayed path."


def _kinds() -> None:
    rows = [("KIND", "MAPPING", "FILTERING", "IN LIFE")]
    rows += [(kind.name, kind.mapping, kind.filtering, kind.life) for kind in KINDS.values()]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        print("  ".join(f"{cell:<{width}}" for cell, width in cells).rstrip())


def _exec(host: str, argv: list[str]) -> None:
    argv = argv[1:] if argv[:1] == ["--"] else argv
    record = running()
    line = command_in(record, host, argv or [os.environ.get("SHELL", "/bin/sh")])
    sys.stdout.flush()
    os.execv(line[0], line)


def _down() -> None:
    for record in records():
        if not record.alive:
            record.clear()
            print(f"cleared up after process {record.pid}, which was killed")
    try:
        record = running()
    except LabError:
        return
    os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while record.folder.exists():
        if time.monotonic() > deadline:
            raise LabError(f"process {record.pid} does not end its laboratory")
        time.sleep(0.05)
    print("the laboratory is gone")
