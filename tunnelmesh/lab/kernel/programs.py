"""Ending programs that were started."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from typing import Any

GRACE = 2.0
"""Seconds a program has between being asked to end and being killed."""


def end(programs: Sequence[subprocess.Popen[Any]]) -> None:
    """Ask programs to end, all at once, and kill those that do not."""
    running = [each for each in programs if each.poll() is None]
    for program in running:
        program.terminate()
    for program in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(GRACE)
    for program in running:
        if program.poll() is None:
            program.kill()
            program.wait()
