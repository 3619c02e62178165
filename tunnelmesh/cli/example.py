"""The examples at the end of a command's help."""

from __future__ import annotations

import argparse
from typing import Any


def example(*lines: str) -> dict[str, Any]:
    """What a parser needs to end its help with these command lines."""
    heading = "example:" if len(lines) == 1 else "examples:"
    return {
        "epilog": "\n  ".join([heading, *lines]),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
