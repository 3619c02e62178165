"""The tutorial, typed line by line: the page is the script."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tunnelmesh.lab.kernel import available

PAGE = Path(__file__).parent.parent / "docs" / "tutorial.md"

NOT_TYPED = ("1. Install", "Between real machines")
"""Sections whose commands are about machines, not about the laboratory."""

OWN = "terminal of its own"
"""How the page says that a block's command keeps its terminal busy."""

PATIENCE = 30.0
"""Seconds until a command has to show what the page shows. A person looks again as well."""

POLL = 0.05

VARIES = {"ssh", "min"}
"""Words that may be others: on a busy machine the other link opens first; minutes take a minute."""

BLOCK = re.compile(r"^## (?P<heading>[^\n]+)$|^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.M | re.S)
TYPED = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.M)
WORD = re.compile(r"[A-Za-z][a-z-]+[a-z]|100\.96\.0\.\d+")
FILE = re.compile(r"`(\w+\.toml)`")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the page.

    :ivar line: as it is typed, all its lines.
    :ivar shown: what the page shows of its output.
    :ivar own: it stays in a terminal of its own.
    """

    line: str
    shown: str
    own: bool

    @property
    def words(self) -> set[str]:
        """The plain words and mesh addresses of the output: what is the same every time."""
        return plain(self.shown)


@dataclass(frozen=True, slots=True)
class Written:
    """A file that the reader is asked to write."""

    name: str
    content: str


def plain(text: str) -> set[str]:
    """The plain words, and mesh addresses, of an output."""
    stripped = (word.strip(".,:;()'") for word in text.split())
    return {word for word in stripped if WORD.fullmatch(word)} - VARIES


def read(page: str) -> Iterator[Command | Written]:
    """What there is to do in a page, in order."""
    heading, end = "", 0
    for block in BLOCK.finditer(page):
        before, end = page[end : block.start()].rstrip().rpartition("\n\n")[2], block.end()
        heading = block["heading"] or heading
        if heading in NOT_TYPED or block["heading"]:
            continue
        if block["kind"] == "toml":
            yield Written(FILE.findall(before)[-1], block["body"])
        if block["kind"] == "console":
            for line, shown in TYPED.findall(block["body"]):
                yield Command(line, shown, OWN in before)


class Terminal:
    """A shell that is typed into.

    :ivar output: the file with all that it has shown.
    """

    def __init__(self, output: Path, environment: dict[str, str]) -> None:
        self.output = output
        with output.open("wb") as file:
            self.shell = subprocess.Popen(
                ["bash", "--norc"],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                cwd=output.parent,
                env=environment,
                start_new_session=True,
            )

    def type(self, line: str) -> None:
        """Type a line, and Enter."""
        self.shell.stdin.write(f"{line}\n".encode())
        self.shell.stdin.flush()

    def close(self) -> None:
        """Close it."""
        self.shell.kill()
        self.shell.communicate()


class TutorialTests(SynchronousTestCase):
    """The laboratory's part of the tutorial."""

    def setUp(self) -> None:
        """A home and a folder of its own, and this Python's commands."""
        missing = available()
        if missing:
            raise SkipTest(missing)
        programs = Path(sys.executable).parent
        for name, where in (("tunnelmesh", programs), ("twistd", programs), ("curl", None)):
            if not shutil.which(name, path=where):
                raise SkipTest(f"the command {name!r} is missing")
        self.folder = Path(tempfile.mkdtemp(prefix="tm-tutorial-"))
        self.addCleanup(shutil.rmtree, self.folder)
        kept = {name: text for name, text in os.environ.items() if "_proxy" not in name.lower()}
        own = {name: str(self.folder) for name in ("HOME", "TMPDIR")}
        self.environment = kept | own | {"PATH": f"{programs}:{os.environ['PATH']}"}
        self.terminals: list[Terminal] = []
        self.addCleanup(self.end)

    def end(self) -> None:
        """End what still runs, after a failure."""
        down = ["tunnelmesh", "lab", "down"]
        subprocess.run(down, env=self.environment, capture_output=True, timeout=PATIENCE)
        for terminal in self.terminals:
            terminal.close()

    def terminal(self) -> Terminal:
        """Open one more."""
        name = self.folder / f"terminal-{len(self.terminals)}"
        self.terminals.append(Terminal(name, self.environment))
        return self.terminals[-1]

    def test_typed(self) -> None:
        """Every command does what the page shows, and ends with success."""
        main = self.terminal()
        done = 0
        for step in read(PAGE.read_text("utf-8")):
            if isinstance(step, Written):
                (self.folder / step.name).write_text(step.content)
            else:
                self.do(step, self.terminal() if step.own else main)
                done += 1
        self.assertGreater(done, 30)

    def do(self, command: Command, terminal: Terminal) -> None:
        """Type a command until it shows what the page shows."""
        deadline = time.monotonic() + PATIENCE
        background = command.line.endswith("&") or command.own
        tries = 0
        ended = None
        while True:
            if not tries or (ended and not background):
                tries += 1
                start = terminal.output.stat().st_size
                terminal.type(command.line)
                if not command.own:
                    terminal.type(f'printf "\\n== {tries} $?\\n"')
            text = terminal.output.read_bytes()[start:].decode("utf-8", "replace")
            ended = re.search(rf"^== {tries} (\d+)\n", text, re.M)
            lacking = command.words - plain(text)
            if not lacking and (command.own or (ended and ended[1] == "0")):
                return
            late = time.monotonic() > deadline
            if late or (ended and ended[1] != "0" and not command.shown):
                self.fail(f"{command.line}\nlacks {sorted(lacking)}\n{text}")
            time.sleep(POLL)
