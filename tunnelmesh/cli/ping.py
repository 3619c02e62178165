"""``tunnelmesh ping``: through the tunnel, saying by which path."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from tunnelmesh.cli.ask import add_arguments, command, lines
from tunnelmesh.cli.example import example
from tunnelmesh.cli.status import path_in_words

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "ping",
        help="ping a peer through the mesh",
        description="Ping a peer through the tunnel. Exits with 1 if nothing came back.",
        **example("tunnelmesh ping homelab", "tunnelmesh ping 100.96.0.2 -c 1 --json"),
    )
    parser.add_argument("peer", metavar="PEER", help="a name or a mesh address")
    parser.add_argument("-c", dest="count", type=_count, default=4, metavar="N", help="times [4]")
    add_arguments(parser)
    parser.set_defaults(run=command(_ping))


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 100_000:
        return int(text)
    raise argparse.ArgumentTypeError("must be a number from 1 to 100000")


def _ping(args: argparse.Namespace) -> int:
    rtts = []
    sent = 0
    for pong in lines(args.state_dir, "ping", peer=args.peer, count=str(args.count)):
        sent += 1
        if pong["rtt_ms"] is not None:
            rtts.append(pong["rtt_ms"])
        if args.json:
            print(json.dumps(pong), flush=True)
        else:
            print(_line(args.peer, pong), flush=True)
    if not args.json:
        print(f"{sent} sent, {len(rtts)} received{_statistics(rtts)}")
    return 0 if rtts else 1


def _line(peer: str, pong: dict[str, object]) -> str:
    path = pong["path"]
    assert isinstance(path, dict)
    by = path_in_words(path)
    if pong["rtt_ms"] is None:
        return f"{peer}: seq {pong['seq']}: no answer ({by if path['kind'] else 'no path'})"
    return f"{peer}: seq {pong['seq']}: {pong['rtt_ms']:.1f} ms ({by})"


def _statistics(rtts: list[float]) -> str:
    if not rtts:
        return ""
    mean = sum(rtts) / len(rtts)
    return f"; round trip min {min(rtts):.1f}, mean {mean:.1f}, max {max(rtts):.1f} ms"
