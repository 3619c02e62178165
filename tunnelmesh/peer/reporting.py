"""Telling the coordinator how this machine's paths fare, while somebody looks at the mesh.

Nothing is sent unless the coordinator asks (:class:`~tunnelmesh.wire.administration.Watch`), and
nothing more than what has changed since: a path that carries nothing is told of once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from typing import Any

from tunnelmesh.peer.pair.remote import Remote
from tunnelmesh.peer.timer import Timer
from tunnelmesh.wire.administration import PathReport, Report, Watch
from tunnelmesh.wire.signal import Signal

SHORTEST = 0.5
"""Seconds between two looks at the counters, however often the coordinator wants them."""

PROMPTLY = 0.1
"""Seconds after a change of path in which others are awaited, which often come together."""

RTT_RATIO = 1.5
"""A round trip that has changed by this factor is another one; by less, it tells nothing new."""

CHUNK = 200
"""Paths in one message, which is then 30 KB at most."""


class Reporting:
    """Sends reports.

    :param remotes: everybody whom there may be a path to.
    :param send: takes the reports.
    """

    def __init__(
        self,
        reactor: Any,
        remotes: Callable[[], Iterable[Remote]],
        send: Callable[[Signal], None],
    ) -> None:
        self._reactor = reactor
        self._remotes = remotes
        self._send = send
        self._every = 0.0
        self._told: dict[IPv4Address, PathReport] = {}
        self._timer = Timer(reactor, self._tell)

    def watch(self, watch: Watch) -> None:
        """The coordinator wants reports from now on, or none any more."""
        self.stop()
        if watch.every > 0:
            self._every = max(watch.every, SHORTEST)
            self._tell()

    def path_changed(self) -> None:
        """A path has become another one."""
        if self._every:
            self._timer.by(self._reactor.seconds() + PROMPTLY)

    def stop(self) -> None:
        """Nobody asks any more: a coordinator that still wants to know says so on the next link."""
        self._every = 0.0
        self._told.clear()
        self._timer.cancel()

    def _tell(self) -> None:
        now = {remote.address: path_report(remote) for remote in self._remotes()}
        paths = [path for path in now.values() if self._is_news(path)]
        # Whoever was told of and is gone has no path: the coordinator knows that better than we.
        self._told = {address: now[address] for address in now if now[address].kind}
        for start in range(0, len(paths), CHUNK):
            self._send(Report(tuple(paths[start : start + CHUNK])))
        self._timer.set(self._reactor.seconds() + self._every)

    def _is_news(self, path: PathReport) -> bool:
        told = self._told.get(path.address)
        if told is None:
            return path.kind != ""
        if (path.kind, path.received, path.sent) != (told.kind, told.received, told.sent):
            return True
        less, more = sorted((path.rtt, told.rtt))
        return more > RTT_RATIO * less


def path_report(remote: Remote) -> PathReport:
    """How the path to *remote* fares; one that was never used counts as none."""
    tunnel, health = remote.tunnel, remote.ladder.health
    used = tunnel.handshake_at is not None
    kind = (remote.path_kind or "") if used else ""
    rtt = 0.0 if health is None or health.rtt is None else round(health.rtt, 6)
    return PathReport(remote.address, kind, rtt, tunnel.rx_bytes, tunnel.tx_bytes)
