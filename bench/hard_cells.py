"""Direct paths where most systems relay: pairs of hard NATs, on real ones.

For each cell and trial a new laboratory: the coordinator, a peer that is up, and a second peer. The
clock starts when both are registered, and both ping each other all the time.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel import Host, Site, World
from tunnelmesh.lab.kernel.mesh import Mesh, Peer, wait_until

LIMIT = 15.0
"""Seconds after which a pair counts as not direct."""

RELAYED = 10.0
"""Seconds for which a pair is watched that is to stay on the relay."""

LOOK = 0.01
"""Seconds between looks."""

OTHERS = 20.0
"""New flows a second of other machines on a busy site: two between two samples of its ports."""

FLOWS = """
import itertools, socket, sys, time
host, pause = sys.argv[1], 1 / float(sys.argv[2])
for number in itertools.count():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flow:
        flow.sendto(b"", (host, 9))
    time.sleep(pause)
"""
"""Opens flows towards a host's discard port, forever."""

CONES = ("port-restricted", "linux", "firewall")
COUNTS, RANDOM = "symmetric-sequential", "symmetric"


@dataclass(frozen=True)
class Cell:
    """A pair of kinds.

    :ivar busy: others on the sites that count ports use some as well.
    :ivar within: seconds within which this share is to be direct; no share where none is.
    """

    kinds: tuple[str, str]
    share: float
    within: float
    busy: bool = False

    def __str__(self) -> str:
        return " x ".join(self.kinds) + (", busy" if self.busy else "")


CELLS = (
    *(Cell((RANDOM, cone), 0.95, 12.0) for cone in CONES),
    *(Cell((COUNTS, other), 0.95, 5.0) for other in (COUNTS, *CONES)),
    *(Cell((COUNTS, other), 0.80, 5.0, busy=True) for other in (COUNTS, *CONES)),
    Cell((RANDOM, RANDOM), 0.0, RELAYED),
    Cell((RANDOM, COUNTS), 0.0, RELAYED),
)


@dataclass
class Trial:
    """One meeting.

    :ivar direct: seconds from both registered until both ends were on the direct path.
    :ivar probes: the most that one side sent in hard punches; *birthday*: of those to or from
        random ports, on both sides.
    """

    direct: float | None = None
    probes: int = 0
    birthday: int = 0


def meet(cell: Cell) -> Trial:
    """Let two new peers meet."""
    with World("hard") as world:
        sites = [world.add_site(name, kind) for name, kind in zip("ab", cell.kinds, strict=True)]
        hosts = [site.add_host(f"peer-{site.name}") for site in sites]
        mesh = Mesh(world)
        mesh.coordinator.start()
        for site in sites:
            if cell.busy and site.kind.name == COUNTS:
                keep_busy(site, world.coordinator.address)
        first, second, registered = introduced(mesh, hosts)
        limit = LIMIT if cell.share else RELAYED
        trial = Trial()
        while trial.direct is None and time.monotonic() - registered < limit:
            if (first.path_to(second.name), second.path_to(first.name)) == ("udp", "udp"):
                trial.direct = time.monotonic() - registered
            time.sleep(LOOK)
        spent = [guessing(first, second.name), guessing(second, first.name)]
        trial.probes = max(side["probes"] for side in spent)
        trial.birthday = sum(side["birthday_probes"] for side in spent)
        return trial


def introduced(mesh: Mesh, hosts: Sequence[Host]) -> tuple[Peer, Peer, float]:
    """Two new peers, the second begun when the first knows its NAT; both ping each other.

    :returns: both, and when both were registered.
    """
    join = f"--join={mesh.coordinator.invite(uses=2)}"
    first = mesh.add_peer(hosts[0], join)
    wait_until(lambda: classified(first), "the first peer to know its NAT")
    second = mesh.add_peer(hosts[1], join)
    wait_until(lambda: second.link, "the second peer's link")
    registered = time.monotonic()
    for host, other in ((hosts[0], second), (hosts[1], first)):
        host.popen(["ping", "-q", "-i0.2", other.address], stdout=subprocess.DEVNULL)
    return first, second, registered


def keep_busy(site: Site, host: str) -> None:
    """Have another machine on a site's LAN open flows."""
    other = site.add_host(f"others-{site.name}")
    other.popen([sys.executable, "-ISc", FLOWS, host, str(OTHERS)])


def classified(peer: Peer) -> bool:
    """Whether a peer knows its NAT, and how that filters."""
    nat = peer.status().get("nat", {})
    return "unknown" not in (nat.get("flavour", "unknown"), nat.get("filtering"))


def guessing(peer: Peer, name: str) -> dict[str, Any]:
    """What a peer has spent on guessing another's ports."""
    for each in peer.status().get("peers", ()):
        if each["name"] == name:
            spent: dict[str, Any] = each["guessing"]
            return spent
    return {"probes": 0, "birthday_probes": 0}


def row(cell: Cell, trials: Sequence[Trial]) -> dict[str, Any]:
    """What the trials of a cell say together."""
    times = sorted(trial.direct for trial in trials if trial.direct is not None)
    in_time = sum(each <= cell.within for each in times) / len(trials)
    return {
        "cell": str(cell),
        "share": len(times) / len(trials),
        "in_time": in_time,
        "wanted": cell.share,
        "within": cell.within,
        "median": statistics.median(times) if times else None,
        "p95": times[min(len(times) - 1, int(0.95 * len(times)))] if times else None,
        "probes": max(trial.probes for trial in trials),
        "birthday": max(trial.birthday for trial in trials),
        "reached": in_time >= cell.share if cell.share else not times,
        "trials": [asdict(trial) for trial in trials],
    }


def measure(trials: int, only: str) -> Iterator[dict[str, Any]]:
    """Every cell in turn.

    :param only: measure the cells whose names have this in them.
    """
    for cell in CELLS:
        if only not in str(cell):
            continue
        done = []
        for _ in range(trials):
            try:
                done.append(meet(cell))
            except LabError as error:
                print(f"{cell}: {error}", file=sys.stderr)
                done.append(Trial())
        yield row(cell, done)


HEAD = f"{'':46} {'direct':>6} {'in time':>13} {'median':>6} {'p95':>6} {'probes':>6} {'random':>6}"


def line(each: dict[str, Any]) -> str:
    """One cell, for people."""
    times = " ".join(
        f"{'-':>6}" if each[name] is None else f"{each[name]:6.2f}" for name in ("median", "p95")
    )
    in_time = f"{each['in_time']:.0%} in {each['within']:.0f} s"
    note = "" if each["reached"] else "  NOT REACHED"
    return (
        f"{each['cell']:46} {each['share']:6.0%} {in_time:>13} {times}"
        f" {each['probes']:6} {each['birthday']:6}{note}"
    )
