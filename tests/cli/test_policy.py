"""``tunnelmesh policy``."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.answers import CommandTestCase
from tunnelmesh.cli.ask import FILE_NAME

RULES: dict[str, Any] = {
    "file": "/etc/rules.toml",
    "mistake": None,
    "doubts": ["there is no member nas yet"],
    "groups": {"admins": ["laptop", "desk"], "empty": []},
    "allow": [{"from": ["admins"], "to": ["*"], "ports": ["tcp/22", "icmp"]}],
}


class PolicyTests(CommandTestCase):
    """What the owner of a coordinator sees."""

    def ask(self, answer: dict[str, Any], *words: str) -> tuple[int, str, str]:
        """Run a command that gets this answer."""
        self.serve(answer)
        ran = self.run_command("policy", *words)
        (self.state / FILE_NAME).unlink()
        return ran

    def test_check_file(self) -> None:
        """A file can be checked without a coordinator."""
        file = self.state / "rules.toml"
        self.addCleanup(file.unlink)
        file.write_text('allow = []\n[groups]\na = ["laptop"]\n')
        status, out, _ = self.run_command("policy", "check", str(file))
        self.assertEqual((status, out), (0, f"{file}: 1 group and 0 entries, in order\n"))
        file.write_text("[group]\n")
        ran = self.run_command("policy", "check", str(file))
        self.assertOneLine(ran, str(file), "did you mean groups?")
        ran = self.run_command("policy", "check", str(file) + "x")
        self.assertOneLine(ran, "cannot be read")

    def test_check_running(self) -> None:
        """The running coordinator says what it thinks of its own; reading it anew does the same."""
        for verb in ("check", "reload"):
            status, out, _ = self.ask(RULES, verb)
            self.assertEqual(status, 0)
            self.assertIn("/etc/rules.toml: 2 groups and 1 entry, in force", out)
            self.assertIn("note: there is no member nas yet", out)
        for verb in ("check", "reload"):
            ran = self.ask(RULES | {"mistake": "/etc/rules.toml: is not TOML"}, verb)
            self.assertOneLine(ran, "is not TOML", "the rules before stay in force")

    def test_show(self) -> None:
        """The rules, for people and for programs."""
        status, out, _ = self.ask(RULES, "show")
        self.assertEqual(status, 0)
        self.assertIn("group admins: laptop, desk\ngroup empty: nobody\n", out)
        self.assertRegex(out, r"\nadmins +\* +tcp/22 icmp\n")
        self.assertIn("note: there is no member nas yet", out)
        wrong = RULES | {"mistake": "/etc/rules.toml: is not TOML", "allow": []}
        _, out, _ = self.ask(wrong, "show")
        self.assertIn("mistake: /etc/rules.toml: is not TOML", out)
        _, out, _ = self.ask(RULES, "show", "--json")
        self.assertEqual(json.loads(out), RULES)

    def test_none(self) -> None:
        """Where there is no file, that is said."""
        self.serve({"error": "there are no access rules"}, status=400)
        self.assertOneLine(self.run_command("policy", "show"), "there are no access rules")
