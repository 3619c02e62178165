"""``tunnelmesh policy``: the access rules, on the coordinator."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunnelmesh.cli.ask import add_arguments, ask, command
from tunnelmesh.cli.example import example
from tunnelmesh.cli.status import print_table
from tunnelmesh.errors import PolicyError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "policy",
        help="on the coordinator: check or show the access rules",
        description="Check or show the access rules: the file that the coordinator was started "
        "with (--policy=FILE). It is read again whenever it changes.",
        **example(
            "tunnelmesh policy check rules.toml",
            "tunnelmesh policy show",
        ),
    )
    verbs = parser.add_subparsers(metavar="check|show|reload", required=True)
    check = verbs.add_parser(
        "check",
        help="say whether a file of rules is in order",
        description="Say whether a file of rules is in order, before the coordinator reads it.",
        **example("tunnelmesh policy check rules.toml"),
    )
    check.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="[the running coordinator's]"
    )
    check.set_defaults(run=command(_check))
    show = verbs.add_parser(
        "show",
        help="show the rules that are in force",
        description="Show the rules that are in force on the running coordinator.",
        **example("tunnelmesh policy show", "tunnelmesh policy show --json"),
    )
    show.set_defaults(run=command(_show))
    reload = verbs.add_parser(
        "reload",
        help="read the file now, not within two seconds",
        description="Have the running coordinator read its file of rules now.",
        **example("tunnelmesh policy reload"),
    )
    reload.set_defaults(run=command(_reload))
    for verb in (check, show, reload):
        add_arguments(verb, json_too=verb is show)


def _check(args: argparse.Namespace) -> int:
    if args.file is None:
        return _reload(args)
    from tunnelmesh.coordinator.policy_file import read

    policy = read(args.file)
    _tell(str(args.file), len(policy.groups), len(policy.allow), "in order")
    return 0


def _reload(args: argparse.Namespace) -> int:
    rules = ask(args.state_dir, "policy")
    if rules["mistake"]:
        raise PolicyError(f"{rules['mistake']}; the rules before stay in force")
    _tell(rules["file"], len(rules["groups"]), len(rules["allow"]), "in force")
    _tell_doubts(rules)
    return 0


def _show(args: argparse.Namespace) -> int:
    rules = ask(args.state_dir, "policy")
    if args.json:
        print(json.dumps(rules, indent=2))
        return 0
    print(f"file: {rules['file']}")
    if rules["mistake"]:
        print(f"mistake: {rules['mistake']}; what follows was read before it, and is in force")
    for name, members in rules["groups"].items():
        print(f"group {name}: {', '.join(members) or 'nobody'}")
    if rules["allow"]:
        columns = ("from", "to", "ports")
        rows = [tuple(" ".join(entry[key]) for key in columns) for entry in rules["allow"]]
        print_table(("FROM", "TO", "PORTS"), rows)
    _tell_doubts(rules)
    return 0


def _tell(file: str, groups: int, entries: int, state: str) -> None:
    some_groups = "1 group" if groups == 1 else f"{groups} groups"
    some_entries = "1 entry" if entries == 1 else f"{entries} entries"
    print(f"{file}: {some_groups} and {some_entries}, {state}")


def _tell_doubts(rules: dict[str, Any]) -> None:
    for doubt in rules["doubts"]:
        print(f"note: {doubt}")
