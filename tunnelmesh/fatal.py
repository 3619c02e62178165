"""How a service that cannot do its work ends its process."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from tunnelmesh.errors import TunnelMeshError

_log = Logger()


def fail(reactor: Any, error: TunnelMeshError) -> None:
    """Say in one line on standard error what is wrong, stop everything, and exit with its status.

    Services are stopped as in any shutdown. ``twistd`` itself knows no exit status: it is set
    when the reactor has come to its end. May be called before the reactor runs.

    :param reactor: an IReactorCore.
    """
    _log.critical("{error}", error=error)
    print(f"tunnelmesh: {error}", file=sys.__stderr__, flush=True)
    reactor.addSystemEventTrigger("after", "shutdown", atexit.register, _exit, error.status)
    reactor.callWhenRunning(_stop, reactor)


def _stop(reactor: Any) -> None:
    try:
        reactor.stop()
    except ReactorNotRunning:
        pass  # it is stopping already


def _exit(status: int) -> None:
    # Nothing raised by an exit function changes the status, so that this one has to be final.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
