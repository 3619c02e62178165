"""``tunnelmesh members``, ``revoke`` and ``rename``: who is in the mesh, and as what."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from tunnelmesh.cli.ask import add_arguments, ask, command, tell
from tunnelmesh.cli.example import example
from tunnelmesh.cli.status import print_table
from tunnelmesh.errors import TunnelMeshError
from tunnelmesh.peer.answers.absence import age, last_seen

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Say how the commands are called."""
    parser = subparsers.add_parser(
        "members",
        help="on the coordinator: list the members, also those who are not there",
        description="List the members with their keys, and when each was last online.",
        **example("tunnelmesh members", "tunnelmesh members --json"),
    )
    add_arguments(parser)
    parser.set_defaults(run=command(_members))
    parser = subparsers.add_parser(
        "revoke",
        help="on the coordinator: remove a member from the mesh",
        description="Remove a member: its link is closed, the others end their sessions with it,\n"
        "and it comes back only with an invitation that is made afterwards.",
        **example("tunnelmesh revoke old-laptop"),
    )
    parser.add_argument("name", metavar="NAME", help="the member's name, or its mesh address")
    add_arguments(parser, json_too=False)
    parser.set_defaults(run=command(_revoke))
    parser = subparsers.add_parser(
        "rename",
        usage="%(prog)s [-h] [--state-dir DIR] [OLD] NEW",
        help="give this machine another name; on the coordinator: any member",
        description="Give this machine another name in the mesh, or, on the coordinator, any\n"
        "member. Connections go on; the others find it by its new name at once.",
        **example(
            "tunnelmesh rename workshop            this machine",
            "tunnelmesh rename laptop workshop     on the coordinator",
        ),
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="the old one if need be; the new")
    add_arguments(parser, json_too=False)
    parser.set_defaults(run=command(_rename))


def _members(args: argparse.Namespace) -> int:
    answer = ask(args.state_dir, "status")
    if answer["role"] != "coordinator":
        raise TunnelMeshError("this is a peer: 'tunnelmesh members' is for the coordinator")
    if args.json:
        print(json.dumps(answer["peers"], indent=2))
        return 0
    now = time.time()
    head = ("NAME", "ADDRESS", "ONLINE", "NAT", "MEMBER SINCE", "KEY")
    print_table(head, [_row(member, now) for member in answer["peers"]])
    return 0


def _row(member: dict[str, Any], now: float) -> tuple[str, ...]:
    seen = last_seen(member["last_seen"], now)
    presence = f"by {member['link']}" if member["online"] else seen
    if member["mode"] == "userspace":
        presence += ", without device"
    return (
        member["name"],
        member["address"],
        presence,
        member["flavour"],
        age(now - member["enrolled"]),
        member["fingerprint"],
    )


def _revoke(args: argparse.Namespace) -> int:
    done = tell(args.state_dir, "revoke", name=args.name)
    link = "its link is closed, and " if done["online"] else ""
    print(
        f"{done['name']} ({done['address']}) is no member any more:"
        f" {link}the others end their sessions with it"
    )
    if done["invitations"]:
        print(
            f"invitations that let somebody in still: {done['invitations']}"
            " (see 'tunnelmesh invite --list')"
        )
    return 0


def _rename(args: argparse.Namespace) -> int:
    *old, new = args.names
    if len(old) > 1:
        raise TunnelMeshError("give the old name and the new one, no more")
    done = tell(args.state_dir, "rename", new=new, **({"old": old[0]} if old else {}))
    print(f"{old[0] if old else done['before']} is called {done['name']} now")
    return 0
