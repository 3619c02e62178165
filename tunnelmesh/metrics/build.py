"""What both roles tell of the program itself."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.process_collector import ProcessCollector


class Collector(Protocol):
    """Gives metrics, anew for each scrape."""

    def collect(self) -> Iterator[Metric]: ...


def build_info(role: str) -> Metric:
    """The version, as a label."""
    info = GaugeMetricFamily(
        "tunnelmesh_build_info", "Version and role of this TunnelMesh", labels=["version", "role"]
    )
    info.add_metric([version("tunnelmesh"), role], 1)
    return info


def text(collector: Collector) -> bytes:
    """Metrics in Prometheus' text format, and the process's own: CPU, memory, open files."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return generate_latest(collector) + generate_latest(registry)
