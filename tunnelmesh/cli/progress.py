"""What ``tunnelmesh up`` shows on a terminal: a short line for everything that happens."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from twisted.logger import ILogObserver, LogLevel, formatEvent
from zope.interface import implementer

from tunnelmesh.cli.style import Colour, paint

_COLOURS: dict[Any, Colour] = {
    LogLevel.warn: "yellow",
    LogLevel.error: "red",
    LogLevel.critical: "red",
}


@implementer(ILogObserver)
class Progress:
    """Prints what TunnelMesh logs; what Twisted does is left out unless it is a warning."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: dict[str, Any]) -> None:
        """Print an event, if it is one for people."""
        level, source = event["log_level"], event["log_namespace"]
        if source == "tunnelmesh.fatal":
            return  # it is on standard error
        if level < (LogLevel.info if source.startswith("tunnelmesh.") else LogLevel.warn):
            return
        text = formatEvent(event)
        if "log_failure" in event:
            text += f": {event['log_failure'].getErrorMessage()}"
        colour = _COLOURS.get(level)
        at = paint(
            time.strftime("%H:%M:%S", time.localtime(event["log_time"])), "dim", self._stream
        )
        print(
            at, paint(text, colour, self._stream) if colour else text, file=self._stream, flush=True
        )


def observer() -> Progress:
    """What ``twistd --logger`` calls. Standard output itself is the log's by then."""
    assert sys.__stdout__ is not None
    return Progress(sys.__stdout__)
