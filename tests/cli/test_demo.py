"""``tunnelmesh demo`` where there are no real NATs, and its options."""

from __future__ import annotations

import contextlib
import io

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.cli import main
from tunnelmesh.errors import LabError
from tunnelmesh.lab import kernel
from tunnelmesh.lab.demo import kernel as stage


class DemoTests(SynchronousTestCase):
    """The command."""

    def demo(self, *options: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = main(["demo", *options])
            except SystemExit as leaving:
                status = int(str(leaving.code))
        return status, out.getvalue(), err.getvalue()

    def test_no_laboratory(self) -> None:
        """Something is missing: the same story in memory, and the reason why."""
        self.patch(kernel, "reenter", lambda: None)
        self.patch(stage, "missing", lambda: "the command 'nft' is missing")
        self.memory("the command 'nft' is missing", "full-cone", "open")

    def test_no_rights(self) -> None:
        """So for users without a right to namespaces."""

        def refuse() -> None:
            raise LabError("only root may")

        self.patch(kernel, "reenter", refuse)
        self.memory("only root may", "symmetric", "udp-blocked")

    def memory(self, reason: str, *kinds: str) -> None:
        """It plays in memory, and well."""
        status, out, err = self.demo("--nat", *kinds)
        self.assertEqual((status, err), (0, ""), out)
        self.assertTrue(out.startswith(f"Real NATs cannot be had here: {reason}."), out)
        self.assertIn("simulated in memory", out)
        self.assertIn("The file arrived intact", out)
        self.assertIn("tunnelmesh up --join TOKEN", out)

    def test_unknown_kind(self) -> None:
        """No such NAT: usage, and which ones there are."""
        status, out, err = self.demo("--nat", "symmetric", "conical")
        self.assertEqual((status, out), (2, ""))
        self.assertIn("'conical'", err)
        self.assertIn("full-cone", err)
