"""The measurements: each takes a tunnel that is up, and returns figures by name."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from bench.throughput.readings import packet_rate, percentile, round_trips, transfer
from bench.throughput.systems.system import System
from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel.mesh import wait_until
from tunnelmesh.lab.kernel.programs import end

Figures = dict[str, float | None]

PATIENCE = 20.0
"""Seconds that a program gets beyond those it measures for."""

PING = 0.01
"""Seconds between pings on an idle tunnel."""

LOADED_PING = 0.02
"""The same beside a stream, of which they should be no part."""

SETTLE = 0.5
"""Seconds for a stream to reach its speed before pings beside it count; and for a system to notice
that the wire has changed."""

LOSSES = {"loss 0.1 %": 0.1, "loss 1 %": 1.0}


class Figure(NamedTuple):
    """How a figure is shown.

    :ivar comparable: whether its ratio to another system's means something.
    """

    label: str
    form: str = ",.0f"
    comparable: bool = True


FIGURES = {
    "out": Figure("one TCP stream, Mbit/s"),
    "back": Figure("one stream the other way, Mbit/s"),
    "cpu": Figure("CPU s/GB, both ends", ".2f"),
    "memory": Figure("resident MB, larger end", ".0f"),
    "streams": Figure("8 streams, Mbit/s"),
    "both": Figure("both directions, Mbit/s in all"),
    "loss 0.1 %": Figure("0.1 % loss, Mbit/s"),
    "loss 1 %": Figure("1 % loss, Mbit/s"),
    "delay": Figure("20 ms round trip, Mbit/s"),
    "packets": Figure("100 B UDP packets/s received"),
    "ping p50": Figure("ping p50, ms", ".3f"),
    "ping p99": Figure("ping p99, ms", ".3f"),
    "loaded p50": Figure("ping p50 beside a stream, ms", ".3f"),
    "loaded p99": Figure("ping p99 beside a stream, ms", ".3f"),
    "idle": Figure("CPU %, idle, 100 idle peers", ".2f", comparable=False),
    "idle memory": Figure("resident MB, idle, 100 idle peers", ".0f", comparable=False),
}
"""All there are, in the order in which they are shown."""


def tcp(system: System, seconds: float) -> Figures:
    """One stream, one way and the other, and what that cost."""
    used = system.cpu()
    out, sent = transfer(iperf(system, seconds))
    back, received = transfer(iperf(system, seconds, "-R"))
    used = system.cpu() - used
    cost = used / ((sent + received) / 1e9) if system.programs else None
    return {"out": out, "back": back, "cpu": cost, "memory": system.memory() or None}


def streams(system: System, seconds: float) -> Figures:
    """Eight at once."""
    return {"streams": transfer(iperf(system, seconds, "-P8"))[0]}


def both(system: System, seconds: float) -> Figures:
    """One stream in each direction at once."""
    return {"both": transfer(iperf(system, seconds, "--bidir"))[0]}


def loss(system: System, seconds: float) -> Figures:
    """One stream over a wire that loses datagrams at random."""
    figures: Figures = {}
    for name, percent in LOSSES.items():
        with system.line.losing(percent):
            figures[name] = transfer(iperf(system, seconds))[0]
    return figures


def delay(system: System, seconds: float) -> Figures:
    """One stream over a long wire, without its first second."""
    with system.line.delayed():
        time.sleep(SETTLE)
        wait_until(system.direct, f"{system.name} to be direct again")
        return {"delay": transfer(iperf(system, seconds, "-O1"))[0]}


def packets(system: System, seconds: float) -> Figures:
    """As many small datagrams as go in; what comes out counts."""
    return {"packets": packet_rate(iperf(system, seconds, "-u", "-l100", "-b0"))}


def ping(system: System, seconds: float) -> Figures:
    """Round trips through an idle tunnel."""
    times = pinged(system, seconds, PING)
    return {"ping p50": percentile(times, 50), "ping p99": percentile(times, 99)}


def loaded(system: System, seconds: float) -> Figures:
    """Round trips beside a stream at full speed."""
    with running(system, seconds + 2 * SETTLE):
        time.sleep(SETTLE)
        times = pinged(system, seconds, LOADED_PING)
    return {"loaded p50": percentile(times, 50), "loaded p99": percentile(times, 99)}


PARTS: dict[str, Callable[[System, float], Figures]] = {
    each.__name__: each for each in (tcp, streams, both, loss, delay, packets, ping, loaded)
}


def iperf(system: System, seconds: float, *options: str) -> Any:
    """Run iperf3 from the near end to the far end.

    :returns: its report.
    :raises LabError: it says nothing in time, or no JSON.
    """
    with running(system, seconds, *options) as client:
        try:
            said, _ = client.communicate(timeout=seconds + PATIENCE)
            return json.loads(said)
        except subprocess.TimeoutExpired:
            raise LabError(f"{system.name}: iperf3 does not end") from None
        except json.JSONDecodeError:
            raise LabError(f"{system.name}: iperf3 says {said[:80]!r}") from None


@contextmanager
def running(system: System, seconds: float, *options: str) -> Iterator[subprocess.Popen[str]]:
    """An iperf3 client at the near end, and its server, while the block runs."""
    server = system.line.far.popen(
        ["iperf3", "-s", "-1", "--forceflush"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    with server.stdout:
        while "listening" not in (line := server.stdout.readline()):
            if not line:
                raise LabError("iperf3 -s has ended by itself")
        argv = ["iperf3", "-J", "-c", system.far, f"-t{seconds:g}", *options]
        client = system.line.near.popen(argv, stdout=subprocess.PIPE, text=True)
        try:
            yield client
        finally:
            end([client, server])
            assert client.stdout is not None
            client.stdout.close()


def pinged(system: System, seconds: float, interval: float) -> list[float]:
    """The round trips of pings from the near end to the far end, in milliseconds."""
    count = f"-c{round(seconds / interval)}"
    done = system.line.near.run(
        ["ping", count, f"-i{interval}", "-W2", system.far], check=False, timeout=seconds + PATIENCE
    )
    return round_trips(done.stdout)
