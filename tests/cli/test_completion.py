"""Tests for :mod:`tunnelmesh.cli.completion`: the shells themselves are asked what they offer."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tunnelmesh.cli import COMMANDS, main
from tunnelmesh.cli.completion import read
from tunnelmesh.cli.shells import FILES, PEERS, Word

PEERS_JSON = json.dumps(
    [{"name": name, "path": {"name": "none"}} for name in ("homelab", "office")], indent=2
)

BASH = """
source {script}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_tunnelmesh
printf '%s\\n' "${{COMPREPLY[@]}}"
"""

ZSH = """
compdef() {{ }}
compset() {{ cut=yes }}
compadd() {{
    shift
    local typed=${{words[CURRENT]}}
    (( $+cut )) && typed=${{typed#*=}}
    for each; do [[ $each == $typed* ]] && print -r -- $each; done
}}
_files() {{ print -l -- ${{words[CURRENT]##*=}}*(N) }}
source {script}
words=({words})
CURRENT=$#words
_tunnelmesh
true
"""
"""With what zsh has while it completes, in a few lines: what fits is printed."""

FISH = """
source {script}
complete -C {line}
"""


class ShellTests(SynchronousTestCase):
    """What each shell offers, with a command that knows two peers."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        program = self.folder / "tunnelmesh"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{PEERS_JSON}\nEND\n")
        program.chmod(0o755)
        (self.folder / "mesh.toml").touch()

    def offered(self, shell: str, *words: str) -> set[str]:
        """What a shell offers for the last of these words."""
        program = shutil.which(shell)
        if program is None:
            raise SkipTest(f"no {shell}: install it")
        script = self.folder / f"script.{shell}"
        with script.open("w") as file, contextlib.redirect_stdout(file):
            main(["completion", shell])
        quoted = " ".join(map(shlex.quote, ("tunnelmesh", *words)))
        line = shlex.quote(" ".join(("tunnelmesh", *words)))
        text = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell].format(
            script=script, words=quoted, line=line
        )
        environment = {"PATH": f"{self.folder}:{os.environ['PATH']}", "HOME": str(self.folder)}
        plain = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
        done = subprocess.run(
            [program, *plain, "-c", text],
            capture_output=True,
            text=True,
            timeout=20,
            cwd=self.folder,
            env=environment,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return {line.partition("\t")[0] for line in done.stdout.splitlines()} - {""}

    def assertOffers(self, shell: str) -> None:
        """Commands, options, values, peers and files are offered where they can be."""
        self.assertEqual(self.offered(shell, "pe"), {"peers"})
        self.assertEqual(self.offered(shell, ""), set(COMMANDS))
        self.assertEqual(self.offered(shell, "ping", ""), {"homelab", "office"})
        self.assertEqual(self.offered(shell, "ping", "off"), {"office"})
        self.assertEqual(self.offered(shell, "explain", "--js"), {"--json"})
        self.assertEqual(self.offered(shell, "completion", "z"), {"zsh"})
        self.assertEqual(self.offered(shell, "lab", "blo"), {"block"})
        self.assertEqual(self.offered(shell, "lab", "up", "full"), {"full-cone"})
        self.assertEqual(self.offered(shell, "lab", "down", ""), set())
        self.assertEqual(self.offered(shell, "up", "--config", "me"), {"mesh.toml"})
        self.assertEqual(self.offered(shell, "netcheck", "--state-dir", "x", "--js"), {"--json"})

    def test_bash(self) -> None:
        """bash offers what fits, also after ``=``, at which it cuts words."""
        self.assertOffers("bash")
        self.assertEqual(self.offered("bash", "up", "--config", "=", "me"), {"mesh.toml"})
        self.assertEqual(self.offered("bash", "up", "--config", "="), {"mesh.toml"} | self.others())

    def test_zsh(self) -> None:
        """zsh offers what fits, also after ``=``."""
        self.assertOffers("zsh")
        self.assertEqual(self.offered("zsh", "up", "--config=me"), {"mesh.toml"})

    def test_fish(self) -> None:
        """fish offers what fits."""
        self.assertOffers("fish")

    def others(self) -> set[str]:
        """The other files in the folder."""
        return {path.name for path in self.folder.iterdir()}


class ReadTests(SynchronousTestCase):
    """What is read from a parser."""

    def test_levels(self) -> None:
        """Commands within commands, options with values or without, and operands."""
        parser = argparse.ArgumentParser(add_help=False)
        parser.add_argument("--verbose", "-v", action="store_true", help="100 %% more")
        commands = parser.add_subparsers()
        send = commands.add_parser("send", add_help=False, help="send it")
        send.add_argument("--to", metavar="PEER")
        send.add_argument("--how", choices=("fast", "slow"), help=argparse.SUPPRESS)
        send.add_argument("--name", metavar="NAME")
        send.add_argument("what", type=Path)
        send.add_argument("peer", metavar="NAME")
        top, below = read(parser)
        self.assertEqual((top.path, below.path), ("tunnelmesh", "tunnelmesh send"))
        self.assertEqual(top.commands, (Word("send", "send it"),))
        self.assertEqual(top.options, (Word("--verbose", "100 % more"), Word("-v", "100 % more")))
        self.assertEqual([word.values for word in below.options], [(PEERS,), ("fast", "slow"), ()])
        self.assertEqual(below.operands, (FILES, PEERS))

    def test_all_commands(self) -> None:
        """Each script knows every command there is, and another shell is a usage error."""
        for shell in ("bash", "zsh", "fish"):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                self.assertEqual(main(["completion", shell]), 0)
            for name in COMMANDS:
                self.assertIn(f"tunnelmesh {name}'", out.getvalue())
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as leaving:
            main(["completion", "tcsh"])
        self.assertEqual(leaving.exception.code, 2)
