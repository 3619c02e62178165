"""What iperf3 and ping print, and what several readings say together."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

_TIME = re.compile(r"time=([\d.]+) ms")


def transfer(report: Mapping[str, Any]) -> tuple[float, float]:
    """What an iperf3 TCP report says arrived, of both directions if it was in both.

    :returns: Mbit/s, and bytes.
    :raises ValueError: it says that it failed.
    """
    if "error" in report:
        raise ValueError(f"iperf3: {report['error']}")
    sums = [report["end"]["sum_received"]]
    if "sum_received_bidir_reverse" in report["end"]:
        sums.append(report["end"]["sum_received_bidir_reverse"])
    return sum(each["bits_per_second"] for each in sums) / 1e6, sum(each["bytes"] for each in sums)


def packet_rate(report: Mapping[str, Any]) -> float:
    """Datagrams a second that an iperf3 UDP report says arrived.

    :raises ValueError: it says that it failed.
    """
    if "error" in report:
        raise ValueError(f"iperf3: {report['error']}")
    end = report["end"]["sum"]
    arrived: float = (end["packets"] - end["lost_packets"]) / end["seconds"]
    return arrived


def round_trips(output: str) -> list[float]:
    """The times that ping printed, in milliseconds."""
    return [float(time) for time in _TIME.findall(output)]


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The least value that so many of all do not exceed (nearest rank); None of nothing."""
    known = sorted(values)
    return known[max(0, math.ceil(len(known) * percent / 100) - 1)] if known else None


def median(values: Iterable[float | None]) -> float | None:
    """The median of those that there are."""
    return statistics.median(known) if (known := [v for v in values if v is not None]) else None
