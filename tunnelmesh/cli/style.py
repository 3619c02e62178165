"""Colours, where they are seen and wanted: on a terminal, unless NO_COLOR says otherwise.

See https://no-color.org.
"""

from __future__ import annotations

import os
import re
from typing import Literal, TextIO

Colour = Literal["red", "green", "yellow", "bold", "dim"]

_CODES = {"red": 31, "green": 32, "yellow": 33, "bold": 1, "dim": 2}
"""ECMA-48's numbers."""

_PAINT = re.compile(r"\x1b\[\d+m")


def is_coloured(stream: TextIO) -> bool:
    """Whether what is printed there may have colours."""
    environment = os.environ
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def paint(text: str, colour: Colour, stream: TextIO) -> str:
    """A text in a colour, if it is for a stream that shows it."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if is_coloured(stream) else text


def padded(text: str, width: int) -> str:
    """A text, painted or not, made as wide as that on a screen."""
    return text + " " * (width - seen_width(text))


def seen_width(text: str) -> int:
    """How many columns a text, painted or not, takes on a screen."""
    return len(_PAINT.sub("", text))
