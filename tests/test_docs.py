"""What the README and the pages under docs say can be typed, and their links can be followed."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh import cli
from tunnelmesh.config import CoordinatorConfig, PeerConfig, settings
from tunnelmesh.tap import Options

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.M | re.S)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.M)
STATEMENT = re.compile(r"(?:^|[ (])((?:twistd -\S+(?: --pidfile=)? )?tunnelmesh [a-z-].*)")


def commands(page: Path) -> Iterator[str]:
    """Every command line in a page: in its blocks, and between backticks."""
    text = page.read_text("utf-8")
    blocks = [body for kind, body in FENCE.findall(text) if kind in ("", "console", "ini", "sh")]
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    for line in [*lines, *SPAN.findall(FENCE.sub("", text))]:
        found = STATEMENT.search(line.replace("/bin/", " "))
        if found and not line.lstrip().startswith(("Description", "tm1:", "|")):
            yield found[1]


def words(command: str) -> list[str]:
    """A command line as its program gets it, without what is there for people only."""
    command = re.split(r"\s+[>&#|]|\)$|;", command)[0]
    command = re.sub(r"\[(--?\w[^\]]*|[A-Z]+)\]", r"\1", command)
    # N stands for a number.
    return [re.sub(r"^N$|(?<==)N$", "1", word) for word in shlex.split(command) if word != "…"]


class CommandTests(SynchronousTestCase):
    """The command lines that are shown."""

    def test_understood(self) -> None:
        """Every command line in the pages is taken by the program that it is for."""
        seen = 0
        for page in PAGES:
            for command in commands(page):
                seen += 1
                self.assertTrue(understood(words(command)), f"{page.name}: {command!r}")
        self.assertGreater(seen, 80)

    def test_wrong_ones_are_found(self) -> None:
        """A command, or an option, that does not exist is not understood."""
        for wrong in (
            "tunnelmesh dance",
            "tunnelmesh ping homelab --loud",
            "tunnelmesh lab exec laptop -- tunnelmesh up --joins=TOKEN",
            "tunnelmesh lab block home",
            "twistd -n tunnelmesh --role=peer --https-port=1",
        ):
            self.assertFalse(understood(words(wrong)), wrong)

    def test_every_setting_is_told(self) -> None:
        """The page of settings names every option of both roles."""
        page = (ROOT / "docs" / "settings.md").read_text("utf-8")
        for role in (PeerConfig, CoordinatorConfig):
            for name in settings(role):
                self.assertIn(f"`--{name}`", page)

    def test_every_command_is_told(self) -> None:
        """The page of commands names every command."""
        page = (ROOT / "docs" / "commands.md").read_text("utf-8")
        for name in cli.COMMANDS:
            self.assertIn(f"`tunnelmesh {name}", page)


def understood(line: list[str]) -> bool:
    """Whether the program that a command line is for takes it."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            if line[0] == "twistd":
                options = line[line.index("tunnelmesh") + 1 :]
                # The file is the reader's.
                Options().parseOptions([word for word in options if "--config" not in word])
                return True
            if len(line) == 2:
                return line[1] in cli.COMMANDS  # a sentence speaks of it
            args = cli._parser(list(cli.COMMANDS.values())).parse_args(line[1:])
    except SystemExit:
        return False
    inner = getattr(args, "argv", [])
    inner = inner[inner[:1] == ["--"] :]
    ours = inner[:1] == ["tunnelmesh"] or (inner[:1] == ["twistd"] and "tunnelmesh" in inner)
    return understood(inner) if ours else True


class LinkTests(SynchronousTestCase):
    """The links between the pages."""

    def test_resolve(self) -> None:
        """Every link within the repository leads to a file, and to its heading if it names one."""
        for page in PAGES:
            for link in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
                if link.startswith(("http:", "https:")):
                    continue
                path, _, heading = link.partition("#")
                target = (page.parent / path).resolve() if path else page
                self.assertTrue(target.exists(), f"{page.name}: {link} leads nowhere")
                if heading:
                    self.assertIn(heading, _anchors(target), f"{page.name}: {link}")

    def test_every_page_is_reached(self) -> None:
        """The index leads to every page."""
        index = (ROOT / "docs" / "index.md").read_text("utf-8")
        for page in PAGES[1:]:
            name = str(page.relative_to(ROOT / "docs").with_suffix(""))
            if name != "index":
                self.assertIn(f"\n{name}\n", index)


def _anchors(page: Path) -> set[str]:
    return {
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")
        for heading in HEADING.findall(page.read_text("utf-8"))
    }
