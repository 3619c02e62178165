"""``tunnelmesh status --watch``, and colours."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.cli import style, watch
from tunnelmesh.errors import NotRunningError, TunnelMeshError


class Terminal(io.StringIO):
    """What shows colours."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def status(kind: str | None, rtt: float = 1.0) -> dict[str, Any]:
    """A status with one peer."""
    peer = {"name": "there", "online": True, "path": {"kind": kind, "rtt_ms": rtt}}
    return {"role": "peer", "coordinator": {"link": "ssh"}, "peers": [peer]}


class WatchTests(SynchronousTestCase):
    """Looks until Ctrl-C."""

    def watched(self, *answers: Any, as_json: bool = False, out: io.StringIO | None = None) -> str:
        """What is printed while these are the answers; then somebody types Ctrl-C."""
        self.patch(watch, "INTERVAL", 0.0)
        out = out or io.StringIO()
        with contextlib.redirect_stdout(out):
            status = watch.watch(self.asker(iter(answers)), self.show, as_json=as_json)
        self.assertEqual(status, 0)
        return out.getvalue()

    def asker(self, answers: Iterator[Any]) -> Callable[[], Any]:
        """Gives the answers one by one."""

        def ask() -> Any:
            answer = next(answers, KeyboardInterrupt())
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return ask

    def show(self, answer: dict[str, Any]) -> None:
        """Prints an answer."""
        [peer] = answer["peers"]
        print(f"{peer['name']}: {peer['path']['kind']}, {peer['path']['rtt_ms']} ms")

    def test_json(self) -> None:
        """One line a look, also while nobody answers."""
        text = self.watched(status("udp"), NotRunningError("gone"), status("ssh"), as_json=True)
        first, second, third = map(json.loads, text.splitlines())
        self.assertEqual((first, third), (status("udp"), status("ssh")))
        self.assertEqual(second, {"error": "gone"})

    def test_plain(self) -> None:
        """Not on a terminal, a change of path is printed, and a change of numbers is not."""
        text = self.watched(status("udp"), status("udp", 2.0), status("ssh"), status("ssh"))
        self.assertEqual(
            [line for line in text.splitlines() if "there" in line],
            [
                "there: udp, 1.0 ms",
                "there: ssh, 1.0 ms",
            ],
        )
        self.assertNotIn("\x1b", text)

    def test_terminal(self) -> None:
        """On a terminal the view is kept up in place, and put away at the end."""
        self.patch(os, "environ", os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"})
        text = self.watched(status("udp"), NotRunningError("gone"), out=Terminal())
        self.assertIn("there: udp", text)
        self.assertIn("gone", text)
        self.assertIn("\x1b[?1049l", text)

    def test_fails_at_once(self) -> None:
        """What does not run cannot be watched."""
        ask = self.asker(iter([NotRunningError("no")]))
        self.assertRaises(TunnelMeshError, watch.watch, ask, self.show, as_json=False)


class ColourTests(SynchronousTestCase):
    """Where there are colours."""

    def painted(self, stream: io.StringIO, **environment: str) -> str:
        """A word in red there."""
        self.patch(os, "environ", environment)
        return style.paint("word", "red", stream)

    def test_colours(self) -> None:
        """On a terminal, unless it is dumb or NO_COLOR is set to something."""
        red = "\x1b[31mword\x1b[0m"
        self.assertEqual(self.painted(Terminal()), red)
        self.assertEqual(self.painted(Terminal(), NO_COLOR=""), red)
        self.assertEqual(self.painted(Terminal(), NO_COLOR="1"), "word")
        self.assertEqual(self.painted(Terminal(), TERM="dumb"), "word")
        self.assertEqual(self.painted(io.StringIO()), "word")

    def test_width(self) -> None:
        """Colours take no columns."""
        painted = self.painted(Terminal())
        self.assertEqual(style.seen_width(painted), 4)
        self.assertEqual(style.padded(painted, 6), painted + "  ")
