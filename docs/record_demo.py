"""Record ``tunnelmesh demo`` as a moving picture: ``python docs/record_demo.py docs/demo.svg``.

The picture is an SVG whose lines appear when they were printed; long waits are shortened. It has no
script, and asks for nothing from elsewhere, so that any page can show it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

LONGEST_WAIT = 0.9
"""Seconds between two lines of the picture, where it took longer."""

SHORTEST_WAIT = 0.12
"""Lines that were printed together are read one by one."""

LINE = 19
MARGIN = 22
CHARACTER = 8.43
"""Pixels: between lines, around the text, and a character of the font size in the style below."""

COLUMNS = 88
"""Characters of the longest line that is shown."""

END = "Everything is taken down again"
"""What follows is for those who ran it."""

MEANINGS = {
    "bad": ("drops", "missed"),
    "relay": ("relayed", "linked"),
    "good": ("direct", "intact", "original"),
}
"""Styles of lines, by a word in them."""

STYLE = """
.card { fill: #11151c }
text { font: 14px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #c9d1d9;
  white-space: pre }
.head { fill: #ffffff; font-weight: bold }
.good { fill: #7ee787 }
.bad { fill: #ffa198 }
.relay { fill: #79c0ff }
text { opacity: 0; animation: appear 0.15s linear forwards }
@keyframes appear { to { opacity: 1 } }
@media (prefers-reduced-motion: reduce) { text { opacity: 1; animation: none } }
"""


class Line(NamedTuple):
    """A printed line.

    :ivar at: seconds from the beginning.
    """

    at: float
    text: str


def record() -> Iterator[Line]:
    """Run the demo.

    :raises SystemExit: if it fails.
    """
    words = [Path(sys.executable).with_name("tunnelmesh"), "demo", "--plain"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    begun = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as program:
        assert program.stdout is not None
        for line in program.stdout:
            yield Line(time.monotonic() - begun, line.rstrip())
    if program.returncode:
        raise SystemExit("the demo failed: there is nothing to show")


def retimed(lines: Sequence[Line]) -> list[Line]:
    """The same with waits that a reader likes."""
    at, before, told = 0.3, 0.0, []
    for line in lines:
        if line.text:
            at += min(max(line.at - before, SHORTEST_WAIT), LONGEST_WAIT)
        before = line.at
        told.append(Line(at, line.text[:COLUMNS]))
    return told


def style_of(text: str) -> str:
    """What a line is shown like."""
    if not text.startswith(" ") and text[:1].isalpha():
        return "head"
    if any(box in text for box in "─│━"):
        return ""
    for style, words in MEANINGS.items():
        if any(word in text for word in words):
            return style
    return ""


def drawn(lines: Sequence[Line]) -> str:
    """The picture."""
    width = int(2 * MARGIN + COLUMNS * CHARACTER)
    height = 2 * MARGIN + LINE * (len(lines) + 1)
    rows = ["$ tunnelmesh demo", *(line.text for line in lines)]
    times = [0.0, *(line.at for line in lines)]
    body = "\n".join(
        f'<text x="{MARGIN}" y="{MARGIN + LINE * (number + 0.75):.0f}" class="{style_of(text)}"'
        f' style="animation-delay: {at:.2f}s" xml:space="preserve">{escape(text)}</text>'
        for number, (text, at) in enumerate(zip(rows, times, strict=True))
        if text
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" role="img" aria-label="A recording of the demo">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect class="card" width="{width}" height="{height}" rx="10"/>\n{body}\n</svg>\n'
    )


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {sys.argv[0]} FILE.svg")
    lines = []
    for line in record():
        if line.text.startswith(END):
            break
        lines.append(line)
    while lines and not lines[-1].text:
        lines.pop()
    Path(sys.argv[1]).write_text(drawn(retimed(lines)), "utf-8")


if __name__ == "__main__":
    main()
