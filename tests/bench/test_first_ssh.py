"""The commands with which the README begins."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.first_ssh import EVERYWHERE, JOINING, LAPTOP, ROOT, SERVER, blocks

MOST = 5
"""Commands that a machine may take."""


class CommandTests(SynchronousTestCase):
    """What there is to type, from an empty machine to the first ssh."""

    def test_few(self) -> None:
        """They are found, and on no machine there are more than five."""
        commands = blocks((ROOT / "README.md").read_text("utf-8"))
        self.assertNotIn([], commands.values())
        self.assertIn("ssh ", commands[LAPTOP][-1])
        for own in ([SERVER], [JOINING], [JOINING, LAPTOP]):
            typed = [line for where in [EVERYWHERE, *own] for line in commands[where]]
            self.assertLessEqual(len(typed), MOST, typed)
