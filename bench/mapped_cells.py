"""Direct paths where one side's router maps ports on request: a symmetric NAT with miniupnpd beside
it, and every other kind of NAT on the other side.

For each trial a new laboratory, as for :mod:`bench.hard_cells`. Behind the mapping router is, in
turn, who comes first and who comes second.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from bench.hard_cells import LIMIT, LOOK, introduced
from tests.counterparts.miniupnpd import PUBLIC, Miniupnpd
from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel import KINDS, World, world
from tunnelmesh.lab.kernel.mesh import Mesh

MAPPED = "symmetric"
"""The kind of the mapping router's own NAT: the one that is hardest without a mapping."""

WITHIN = 3.0
"""Seconds within which every pair is to be direct."""

OTHERS = tuple(kind.name for kind in KINDS.values() if kind.udp)


def meet(other: str, mapped_first: bool) -> float | None:
    """Let two new peers meet.

    :returns: seconds from both registered until both ends were on the direct path; None if never.
    """
    with World("mapped") as lab:
        mapped = lab.add_site("mapped", MAPPED)
        Miniupnpd(mapped, lab.folder)
        sites = [mapped, lab.add_site("other", other)]
        hosts = [site.add_host(f"in-{site.name}") for site in sites]
        if not mapped_first:
            hosts.reverse()
        mesh = Mesh(lab)
        mesh.coordinator.start()
        first, second, registered = introduced(mesh, hosts)
        while time.monotonic() - registered < LIMIT:
            if (first.path_to(second.name), second.path_to(first.name)) == ("udp", "udp"):
                return time.monotonic() - registered
            time.sleep(LOOK)
        return None


def row(other: str, trials: Sequence[float | None]) -> dict[str, Any]:
    """What the trials of a pair say together."""
    times = [each for each in trials if each is not None]
    worst = max(times, default=None)
    return {
        "cell": f"{MAPPED} with a mapping router x {other}",
        "share": len(times) / len(trials),
        "median": statistics.median(times) if times else None,
        "worst": worst,
        "reached": len(times) == len(trials) and worst is not None and worst <= WITHIN,
        "trials": list(trials),
    }


def measure(trials: int, only: str) -> Iterator[dict[str, Any]]:
    """Every kind in turn.

    :param only: measure the kinds whose names have this in them.
    """
    # miniupnpd takes no outside address that is set aside for documentation.
    world.ACCESS = PUBLIC
    for other in OTHERS:
        if only not in other:
            continue
        done: list[float | None] = []
        for number in range(trials):
            try:
                done.append(meet(other, mapped_first=number % 2 == 0))
            except LabError as error:
                print(f"{other}: {error}", file=sys.stderr)
                done.append(None)
        yield row(other, done)


HEAD = f"{'':52} {'direct':>6} {'median':>6} {'worst':>6}"


def line(each: dict[str, Any]) -> str:
    """One pair, for people."""
    times = " ".join(
        f"{'-':>6}" if each[name] is None else f"{each[name]:6.2f}" for name in ("median", "worst")
    )
    note = "" if each["reached"] else "  NOT REACHED"
    return f"{each['cell']:52} {each['share']:6.0%} {times}{note}"
