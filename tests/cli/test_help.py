"""The help of every command."""

from __future__ import annotations

import contextlib
import io

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.cli import COMMANDS, main


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
