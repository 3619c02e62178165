"""How commands that explain lay out what they say."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable

from tunnelmesh.cli.style import paint

WIDTH = 80
"""Columns of a terminal that nobody has made wider."""


def headline(text: str) -> None:
    """Print what matters most."""
    print(paint(textwrap.fill(text, WIDTH), "bold", sys.stdout))


def what_to_do(advice: Iterable[str], nothing: str) -> None:
    """Print what people can do, or that they need not do anything."""
    told = list(advice)
    if not told:
        print(f"\n{nothing}")
        return
    print(f"\n{paint('What you can do:', 'bold', sys.stdout)}")
    for each in told:
        text = each[:1].upper() + each[1:] + "."
        print(textwrap.fill(text, WIDTH, initial_indent="  - ", subsequent_indent="    "))
