"""Where a peer's time goes while it carries a stream: cProfile, run by twistd itself."""

from __future__ import annotations

import io
import pstats
from argparse import Namespace
from pathlib import Path
from typing import Any

from bench.throughput.line import Laboratory
from bench.throughput.measures import iperf
from bench.throughput.readings import transfer
from bench.throughput.systems.tunnelmesh import TunnelMesh
from tunnelmesh.lab.kernel.mesh import Peer

LINES = 40
"""Functions that are shown."""

WAYS: dict[str, list[str]] = {"out": [], "back": ["-R"]}
"""iperf3's options, by whether the profiled end sends or receives."""


class ProfiledPeer(Peer):
    """A peer that writes down where its time went when it ends."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        words = [f"--profile={self.profile}", "--profiler=cprofile", "--savestats"]
        place = self._argv.index("tunnelmesh")
        self._argv[place:place] = words

    @property
    def profile(self) -> Path:
        """Where to."""
        return self.log.with_suffix(".profile")


def profile(laboratory: Laboratory, kind: type[TunnelMesh], options: Namespace) -> str:
    """Carry one stream with the near end profiled; the far end runs freely.

    :returns: the speed, and the functions that took longest by themselves.
    """
    system = kind(laboratory, options)
    system.near_peer = ProfiledPeer
    system.up()
    speed, _ = transfer(iperf(system, options.seconds, *WAYS[options.profile]))
    near = system.peers[0]
    near.stop()
    assert isinstance(near, ProfiledPeer)
    text = io.StringIO()
    stats = pstats.Stats(str(near.profile), stream=text)
    stats.strip_dirs().sort_stats("tottime").print_stats(LINES)
    return f"{kind.name}: {speed:,.0f} Mbit/s while profiled\n{text.getvalue().strip()}"
