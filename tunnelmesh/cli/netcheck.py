"""``tunnelmesh netcheck``: what stands between this machine and the others, in plain words."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import TYPE_CHECKING, Any

from tunnelmesh.cli.ask import add_arguments, ask, command
from tunnelmesh.cli.example import example
from tunnelmesh.cli.words import WIDTH, headline, what_to_do

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "netcheck",
        help="say what this machine's NAT is, and what it allows",
        description="Look at this machine's network anew, and say in plain words whether\n"
        "direct connections work through it, how the coordinator is reached, and what you can\n"
        "do to make it better.",
        **example("tunnelmesh netcheck", "tunnelmesh netcheck --json | jq .flavour"),
    )
    add_arguments(parser)
    parser.set_defaults(run=command(_netcheck))


def _netcheck(args: argparse.Namespace) -> int:
    answer = ask(args.state_dir, "netcheck")
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    headline(answer["verdict"])
    print()
    print(textwrap.fill(answer["in_words"], WIDTH))
    print()
    print(f"  NAT          {answer['flavour']}")
    print(f"  mapping      {answer['mapping']}")
    print(f"  filtering    {answer['filtering']}")
    print(f"  ports        {answer['ports']}")
    print(f"  seen as      {answer['external'] or 'nothing: no answer to STUN'}")
    print(f"  over IPv6    {_over_ipv6(answer)}")
    print(f"  forwarded    {_forwarded(answer['forwards'])}")
    print(f"  addresses    {', '.join(answer['addresses']) or 'none'}")
    print(f"  fast path    {_fast_path(answer['offloads']['lacking'])}")
    print(f"  names        {answer['names']['hint'] or 'NAME.mesh resolves on this machine'}")
    print(f"  coordinator  {_coordinator(answer)}")
    for route, reason in answer["failures"].items():
        print(f"  not by {route}: {reason}")
    what_to_do(answer["advice"], "Nothing needs to be done.")
    return 0


def _over_ipv6(answer: dict[str, Any]) -> str:
    """How the coordinator sees the IPv6 socket, if there is IPv6."""
    if not any(":" in address for address in answer["addresses"]):
        return "no public address"
    return answer["external6"] or "a public address, which the coordinator does not see"


def _forwarded(forwards: dict[str, Any]) -> str:
    """What a router forwards to this machine, or why it does not."""
    parts = [f"{endpoint} by hand" for endpoint in forwards["advertised"]]
    reasons = "; ".join(f"{what}: {why}" for what, why in forwards["why_not"].items())
    if forwards["external"]:
        parts.append(f"{forwards['external']} by {forwards['protocol']}")
    else:
        parts.append(f"none asked for ({reasons})" if parts else f"none ({reasons})")
    return ", ".join(parts)


def _fast_path(lacking: list[str]) -> str:
    """Whether all offloads are there, or what is not, and what that means."""
    if not lacking:
        return "on"
    return f"not all of it, so much traffic takes more CPU ({'; '.join(lacking)})"


def _coordinator(answer: dict[str, Any]) -> str:
    coordinator = answer["coordinator"]
    if coordinator["link"] is None:
        return f"{coordinator['host']} is not reached"
    by = {"ssh": "SSH", "websocket": "WebSocket"}[coordinator["link"]]
    through = f" through the proxy {coordinator['proxy']}" if coordinator["proxy"] else ""
    rtt = coordinator["rtt_ms"]
    return f"{coordinator['host']} by {by}{through}" + ("" if rtt is None else f", {rtt:.1f} ms")
