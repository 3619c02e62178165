"""What a peer costs that does nothing, in a mesh of a hundred others that do nothing either.

The others are real peers in one process (crowd.py), on one machine. The peer pings each of
them, is left alone until what follows a new path is over, and then its CPU time is counted.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from bench.stun import cpu
from bench.throughput.measures import Figures
from bench.throughput.systems.tunnelmesh import TunnelMesh
from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel.mesh import wait_until

CROWD = Path(__file__).with_name("crowd.py")

PEERS = 100

MEETING = 120.0
"""Seconds, at most, for all to be reached; they share two cores with what they are measured by."""

QUIET = 15.0
"""Seconds after which what follows a new path is over."""

COUNTED = 30.0
"""Seconds over which CPU time is counted; the kernel counts it in hundredths."""


def idle(system: TunnelMesh) -> Figures:
    """Let a hundred others join, meet each, and count.

    :raises LabError: not all can be reached.
    """
    laboratory = system.laboratory
    token = laboratory.mesh.coordinator.invite(uses=PEERS)
    place = laboratory.line("crowd").far
    argv = [sys.executable, "-P", str(CROWD), token, str(system.folder), str(PEERS)]
    with (system.folder / "crowd.err").open("w") as log:
        crowd = place.popen(argv, stdout=subprocess.PIPE, stderr=log, text=True)
    assert crowd.stdout is not None
    with crowd.stdout:
        if crowd.stdout.readline() != "ready\n":
            said = (system.folder / "crowd.err").read_text().splitlines()[-1:]
            raise LabError(f"the crowd does not gather: {' '.join(said)}")
    peer = system.peers[0]
    assert peer.process is not None

    def reached() -> int:
        return sum(kind == "udp" for name, kind in peer.paths().items() if "crowd" in name)

    addresses = [p["address"] for p in peer.status()["peers"] if p["name"].startswith("crowd-")]
    for address in addresses:
        peer.host.run(["ping", "-c1", "-W1", address], check=False)
    wait_until(lambda: reached() == PEERS, f"direct paths to {PEERS} peers", MEETING)
    time.sleep(QUIET)
    used, begun = cpu(peer.process.pid), time.monotonic()
    time.sleep(COUNTED)
    share = 100 * (cpu(peer.process.pid) - used) / (time.monotonic() - begun)
    if reached() < PEERS:
        raise LabError(f"only {reached()} of {PEERS} idle peers are still reached directly")
    return {"idle": share, "idle memory": system.memory()}
