"""A coordinator's metrics, made from its status."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import Metric

from tunnelmesh.metrics.build import build_info
from tunnelmesh.nat.behaviour import Flavour

_FLAVOURS = set(map(str, Flavour))
"""What a member says of its NAT becomes a label only if it is one of these."""


class CoordinatorMetrics:
    """A collector for one scrape.

    :param status: what ``tunnelmesh status --json`` prints.
    """

    def __init__(self, status: dict[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Everything."""
        yield build_info("coordinator")
        yield from self._members()
        relay = self._status["relay"]
        for name, help, count in (
            ("relay_frames", "Frames relayed between members", relay["frames"]),
            ("relay_bytes", "Bytes relayed between members", relay["bytes"]),
            ("relay_dropped_frames", "Frames to relay that were dropped", relay["dropped"]),
        ):
            yield Counter(f"tunnelmesh_{name}", help, value=count)
        odd = Counter(
            "tunnelmesh_signals_rejected",
            "Signals of members, and sign-ins, that came to nothing",
            labels=["reason"],
        )
        for reason, count in self._status["signals"].items():
            odd.add_metric([reason], count)
        yield odd

    def _members(self) -> Iterator[Metric]:
        members = Gauge("tunnelmesh_members", "Members of the mesh")
        members.add_metric([], len(self._status["peers"]))
        yield members
        count: Count[tuple[str, str]] = Count()
        for peer in self._status["peers"]:
            if peer["online"]:
                flavour = peer["flavour"] if peer["flavour"] in _FLAVOURS else "unknown"
                count[str(peer["link"]), flavour] += 1
        online = Gauge(
            "tunnelmesh_members_online",
            "Members that are online, by link and NAT",
            labels=["link", "flavour"],
        )
        for labels, number in sorted(count.items()):
            online.add_metric(labels, number)
        yield online
