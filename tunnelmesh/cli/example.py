"""The examples at the end of a command's help."""

from __future__ import annotations

import argparse
from typing import Any

_HEADINGS = ("example:", "examples:")


class _Formatter(argparse.HelpFormatter):
    """Fills paragraphs, but leaves command lines as they are typed."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(_HEADINGS):
            return text
        return super()._fill_text(text, width, indent)


def example(*lines: str) -> dict[str, Any]:
    """What a parser needs to end its help with these command lines."""
    heading = _HEADINGS[len(lines) > 1]
    return {"epilog": "\n  ".join([heading, *lines]), "formatter_class": _Formatter}
