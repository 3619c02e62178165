"""Notice that this machine's network may have changed: another network, or it was asleep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunnelmesh.peer.reach.route_monitor import RouteMonitor

TICK = 5.0
"""Seconds between looks at the clock."""

SLEPT = 5.0
"""Seconds that a tick must be late before the machine counts as having slept."""

_ROUTES = Path("/proc/net/route")


class Watch:
    """Calls *changed* when addresses or routes really are others, and after waking up.

    :param snapshot: whatever describes the network; compared with what it was.
    """

    def __init__(
        self,
        reactor: Any,
        snapshot: Callable[[], object],
        unix_time: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._snapshot = snapshot
        self._unix_time = unix_time
        self._changed = changed
        self._monitor = RouteMonitor(reactor, self._look)
        self._known: object = None
        self._looked_at = 0.0
        self._call: Any = None

    def start(self) -> None:
        """Begin; what there is now counts as known."""
        self._known = self._snapshot()
        self._monitor.start()
        self._tick()

    def stop(self) -> None:
        """End."""
        self._monitor.stop()
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _look(self) -> None:
        found = self._snapshot()
        if found != self._known:
            self._known = found
            self._changed()

    def _tick(self) -> None:
        now = self._unix_time()
        if self._call is not None and now - self._looked_at > TICK + SLEPT:
            self._known = self._snapshot()
            self._changed()
        self._looked_at = now
        self._call = self._reactor.callLater(TICK, self._tick)


def routes(leave_out: str) -> str:
    """The kernel's IPv4 routes as text, but for those of one interface."""
    try:
        lines = _ROUTES.read_text("ascii").splitlines()
    except OSError:
        return ""
    return "\n".join(line for line in lines if line.split("\t")[0] != leave_out)
