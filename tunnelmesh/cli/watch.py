"""A view that keeps up: on a terminal in place, else in lines."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from tunnelmesh.errors import TunnelMeshError

INTERVAL = 1.0
"""Seconds between two looks: what people can follow."""


class _Screen(io.StringIO):
    """Takes what is printed for a terminal."""

    def isatty(self) -> bool:
        return sys.__stdout__ is not None and sys.__stdout__.isatty()


def watch(ask: Callable[[], Any], show: Callable[[Any], None], *, as_json: bool) -> int:
    """Ask again and again, until Ctrl-C.

    :param ask: gives what is to be shown. If it fails the first time, so does this; later it may.
    :param show: prints it.
    :returns: the exit status.
    """
    answer = ask()
    with contextlib.suppress(KeyboardInterrupt):
        if as_json:
            _lines(answer, ask)
        elif sys.stdout.isatty():
            _live(answer, ask, show)
        else:
            _blocks(answer, ask, show)
    return 0


def _lines(answer: Any, ask: Callable[[], Any]) -> None:
    while True:
        print(json.dumps(answer), flush=True)
        answer = _again(ask, lambda error: {"error": error})


def _live(answer: Any, ask: Callable[[], Any], show: Callable[[Any], None]) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            text = _printed(answer, show)
            live.update(Text.from_ansi(f"{text}\n{_now()}  (Ctrl-C ends)"), refresh=True)
            answer = _again(ask, str)


def _blocks(answer: Any, ask: Callable[[], Any], show: Callable[[Any], None]) -> None:
    """Print it anew when somebody has come, gone or changed path: numbers change all the time."""
    before = None
    while True:
        if _outline(answer) != before:
            before = _outline(answer)
            print(f"{_now()}\n{_printed(answer, show)}", flush=True)
        answer = _again(ask, str)


def _printed(answer: Any, show: Callable[[Any], None]) -> str:
    if isinstance(answer, str):
        return f"{answer}\n"
    screen = _Screen()
    with contextlib.redirect_stdout(screen):
        show(answer)
    return screen.getvalue()


def _outline(answer: Any) -> object:
    if isinstance(answer, str):
        return answer
    return answer.get("coordinator", {}).get("link"), [
        (peer["name"], peer["online"], peer.get("link"), peer.get("path", {}).get("kind"))
        for peer in answer["peers"]
    ]


def _again(ask: Callable[[], Any], failed: Callable[[str], Any]) -> Any:
    time.sleep(INTERVAL)
    try:
        return ask()
    except TunnelMeshError as error:
        return failed(str(error))


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
