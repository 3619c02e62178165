"""``tunnelmesh status`` and ``tunnelmesh peers``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunnelmesh.cli.ask import add_arguments, ask, command
from tunnelmesh.cli.example import example
from tunnelmesh.cli.style import Colour, padded, paint, seen_width
from tunnelmesh.cli.watch import watch
from tunnelmesh.peer.answers.absence import age, last_seen

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Say how the commands are called."""
    parser = subparsers.add_parser(
        "status",
        help="show this machine, its NAT and its peers",
        description="Show this machine, its NAT, its link to the coordinator, and its peers with\n"
        "the paths to them; on a coordinator, who is online.",
        **example("tunnelmesh status", "tunnelmesh status --watch", "tunnelmesh status --json"),
    )
    parser.add_argument(
        "-w", "--watch", action="store_true", help="keep it up to date, until Ctrl-C"
    )
    add_arguments(parser)
    parser.set_defaults(run=command(_status))
    parser = subparsers.add_parser(
        "peers",
        help="list the peers and the paths to them",
        description="List the peers and the paths to them.",
        **example("tunnelmesh peers", "tunnelmesh peers --json | jq -r '.[].name'"),
    )
    add_arguments(parser)
    parser.set_defaults(run=command(_peers))


def _status(args: argparse.Namespace) -> int:
    def look() -> Any:
        return ask(args.state_dir, "status")

    if args.watch:
        return watch(look, _show, as_json=args.json)
    answer = look()
    if args.json:
        print(json.dumps(answer, indent=2))
    else:
        _show(answer)
    return 0


def _show(answer: dict[str, Any]) -> None:
    if answer["role"] == "coordinator":
        _print_coordinator(answer)
    else:
        _print_peer(answer)


def _peers(args: argparse.Namespace) -> int:
    answer = ask(args.state_dir, "status")
    if args.json:
        print(json.dumps(answer["peers"], indent=2))
    elif answer["role"] == "coordinator":
        _print_members(answer["peers"])
    else:
        _print_peers(answer["peers"])
    return 0


def _print_peer(answer: dict[str, Any]) -> None:
    nat, coordinator = answer["nat"], answer["coordinator"]
    link = coordinator["link"] or "no link yet"
    if coordinator["proxy"]:
        link += f" through {coordinator['proxy']}"
    if coordinator["rtt_ms"] is not None:
        link += f", {coordinator['rtt_ms']:.1f} ms"
    print(f"{answer['name']}  {answer['address']}  {answer['address6']}")
    print(f"  key          {answer['fingerprint']}")
    print(f"  NAT          {nat['flavour']}, seen as {nat['external'] or 'nothing yet'}")
    print(f"  coordinator  {coordinator['host']}: {link}")
    if coordinator["link"] is None:
        for route, reason in coordinator["failures"].items():
            print(f"               {route}: {reason}")
    print(f"  names        {answer['names']['hint'] or 'NAME.mesh resolves on this machine'}")
    if answer["mode"] == "userspace":
        print("  no network device: use 'tunnelmesh nc' and 'forward', or a proxy")
    if answer.get("listen"):
        print(f"  listens on   {_listening(answer['listen'])}")
    if answer.get("restricted"):
        print("  access       restricted by rules: 'tunnelmesh explain PEER' says which")
    for name, odd in answer["refused"].items():
        print(f"  {paint('REFUSED', 'red', sys.stdout)}      {name}: {odd}")
    print()
    _print_peers(answer["peers"])


def _print_coordinator(answer: dict[str, Any]) -> None:
    relay = answer["relay"]
    online = sum(peer["online"] for peer in answer["peers"])
    print(f"coordinator: {online} of {len(answer['peers'])} peers online")
    print(f"  listens on  {_listening(answer['listen'])}")
    if answer.get("policy"):
        print(f"  rules       {answer['policy']['file']}")
        if answer["policy"]["mistake"]:
            wrong = paint("MISTAKE", "red", sys.stdout)
            print(f"  {wrong}     {answer['policy']['mistake']}; the rules before stay in force")
    print(
        f"  relay       {relay['frames']} frames, {amount(relay['bytes'])}, "
        f"{relay['dropped']} dropped"
    )
    print()
    _print_members(answer["peers"])


def _print_members(peers: list[dict[str, Any]]) -> None:
    now = time.time()
    rows = [(p["name"], p["address"], p["link"] or _gone(p, now), p["flavour"]) for p in peers]
    print_table(("NAME", "ADDRESS", "LINK", "NAT"), rows)


def _listening(listen: Any) -> str:
    if isinstance(listen, dict):
        return ", ".join(f"{name} {where}" for name, where in listen.items())
    return ", ".join(map(str, listen))


def _print_peers(peers: list[dict[str, Any]]) -> None:
    if not peers:
        print("no other peers yet: let one in with 'tunnelmesh invite' on the coordinator")
        return
    print_table(
        ("NAME", "ADDRESS", "PATH", "ROUND TRIP", "SINCE", "RECEIVED", "SENT"),
        [_row(peer, time.time()) for peer in peers],
    )


def path_in_words(path: Mapping[str, Any]) -> str:
    """A path, of some kind, for people."""
    if path["kind"] == "udp":
        return f"direct, {path['remote']}"
    if path["kind"] == "tcp":
        return f"direct over TCP, {path['remote']}"
    return f"relayed, {path['kind']}"


def _gone(peer: dict[str, Any], now: float) -> str:
    return f"offline, {last_seen(peer.get('last_seen'), now)}"


def _row(peer: dict[str, Any], now: float) -> tuple[str, ...]:
    path = peer["path"]
    return (
        peer["name"],
        peer["address"],
        _painted_path(peer, now),
        "" if path["rtt_ms"] is None else f"{path['rtt_ms']:.1f} ms",
        age(path["since_s"]) if path["kind"] else "",
        amount(peer["rx_bytes"]),
        amount(peer["tx_bytes"]),
    )


def _painted_path(peer: dict[str, Any], now: float) -> str:
    colour: Colour
    if peer["path"]["kind"]:
        text = path_in_words(peer["path"])
        colour = "green" if peer["path"]["kind"] in ("udp", "tcp") else "yellow"
    elif peer["online"]:
        text, colour = "no path", "red"
    else:
        text, colour = _gone(peer, now), "dim"
    return paint(text, colour, sys.stdout)


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print columns as wide as they need to be."""
    widths = [max(map(seen_width, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        cells = (padded(cell, width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def amount(size: float) -> str:
    """Bytes, for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
