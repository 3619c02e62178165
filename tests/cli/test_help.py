"""The help of every command."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.cli import COMMANDS, _parser, main


class HelpTests(SynchronousTestCase):
    """Nobody has to guess."""

    def help(self, *words: str) -> str:
        """What ``--help`` prints."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), self.assertRaises(SystemExit) as leaving:
            main([*words, "--help"])
        self.assertEqual(leaving.exception.code, 0)
        return out.getvalue()

    def test_all(self) -> None:
        """The command itself lists the others, and the first steps."""
        text = self.help()
        for name in COMMANDS:
            self.assertIn(f"\n    {name} ", text)
        self.assertIn("tunnelmesh demo", text)

    def test_each(self) -> None:
        """Each command has a help of its own."""
        for name in COMMANDS:
            self.assertTrue(self.help(name).startswith(f"usage: tunnelmesh {name} "))

    def test_examples(self) -> None:
        """Each command, and each of its actions, says what it does and how it is typed."""
        seen = 0
        for parser in parsers(_parser(list(COMMANDS.values()))):
            seen += 1
            self.assertTrue(parser.description, parser.prog)
            heading, *lines = (parser.epilog or "").splitlines()
            self.assertIn(heading, ("example:", "examples:"), parser.prog)
            self.assertTrue(lines, parser.prog)
            for line in lines:
                self.assertTrue(line.startswith("  "), parser.prog)
                self.assertIn(parser.prog, line, "an example is of the command itself")
        self.assertGreater(seen, len(set(COMMANDS)))


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands and of their actions."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield each
                yield from parsers(each)
