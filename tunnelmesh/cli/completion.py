"""``tunnelmesh completion``: what Tab offers in the shell, from the commands' own parsers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunnelmesh.cli.example import example
from tunnelmesh.cli.shells import FILES, PEERS, SCRIPTS, Level, Word

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_FILE_METAVARS = ("DIR", "FILE", "PATH")


def add_parser(subparsers: Subparsers) -> None:
    """Say how the command is called."""
    parser = subparsers.add_parser(
        "completion",
        help="print a script with which the shell completes commands and peers",
        description="Print a script for the shell, which then completes commands, options and the "
        "names of peers.",
        **example(
            "tunnelmesh completion bash > ~/.local/share/bash-completion/completions/tunnelmesh",
            'tunnelmesh completion zsh > "${fpath[1]}/_tunnelmesh"',
            "tunnelmesh completion fish > ~/.config/fish/completions/tunnelmesh.fish",
        ),
    )
    parser.add_argument("shell", choices=sorted(SCRIPTS))
    parser.set_defaults(run=_completion)


def _completion(args: argparse.Namespace) -> int:
    from tunnelmesh.cli import COMMANDS, _parser

    print(SCRIPTS[args.shell](list(read(_parser(list(COMMANDS.values()))))), end="")
    return 0


def read(parser: argparse.ArgumentParser, path: str = "tunnelmesh") -> Iterator[Level]:
    """What a parser and those of its commands take."""
    commands: list[Word] = []
    options: list[Word] = []
    operands: list[str] = []
    below: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            commands += [Word(name, helps.get(name, "")) for name in action.choices]
            below += [(f"{path} {name}", each) for name, each in action.choices.items()]
        elif action.option_strings:
            values = None if action.nargs == 0 else _values(action)
            options += [Word(o, _short(action.help), values) for o in action.option_strings]
        else:
            operands += _values(action)
    yield Level(path, tuple(commands), tuple(options), tuple(dict.fromkeys(operands)))
    for name, each in below:
        yield from read(each, name)


def _values(action: argparse.Action) -> tuple[str, ...]:
    if action.choices is not None:
        return tuple(map(str, action.choices))
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.type is Path or metavar in _FILE_METAVARS:
        return (FILES,)
    # The option --name is what this machine is to be called: not a peer that is there.
    named = metavar == "PEER" or (metavar == "NAME" and not action.option_strings)
    return (PEERS,) if named else ()


def _short(help: str | None) -> str:
    return "" if help in (None, argparse.SUPPRESS) else str(help).replace("%%", "%")
