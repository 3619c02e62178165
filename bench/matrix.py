"""Do any two machines reach each other, by what, and how soon? Every pair of NATs, on real ones.

For each pair of kinds, a new laboratory: the coordinator, a peer that is up, and a second peer with
whose process the clock starts. Its host pings the first all the time.
"""

from __future__ import annotations

import json
import select
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import IO, Any

from bench import hard_cells, mapped_cells
from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel import KINDS, Host, Site, World, connectable, punchable, reenter
from tunnelmesh.lab.kernel.mesh import Mesh, Peer, wait_until

BASIC = "open,full-cone,restricted-cone,port-restricted,symmetric,udp-blocked"

PROBER = Path(__file__).with_name("prober.py")

LIMIT = 10.0
"""Seconds after which a pair counts as not connected, or not direct."""

SETTLE = 1.0
"""Seconds that a pair which cannot punch gets to show that it stays where it is."""

DIRECT = (("udp", "udp"), ("tcp", "tcp"))
"""What the two ends of a direct path call it."""

LOOK = 0.005
"""Seconds between looks: with the prober's interval, what is measured is at most 10 ms late."""

ELSEWHERE = {"first": 0.4, "direct": 0.5}
"""Seconds from the second process's start to the first traffic and to a direct path, with the best
of five other systems on such NATs (hyperdht; the others took 0.3 to 1 and 1 to 100)."""


@dataclass
class Trial:
    """One meeting of two peers; times in seconds.

    :ivar start: from the second process's start until it was registered.
    :ivar first: until the first round trip.
    :ivar both: from both registered to the first round trip.
    :ivar direct: from both registered until both ends were on the direct path.
    :ivar paths: what each end was on when it was over.
    :ivar idle: packets a minute on the idle direct path, in both directions.
    """

    start: float | None = None
    first: float | None = None
    both: float | None = None
    direct: float | None = None
    paths: tuple[str | None, str | None] = (None, None)
    idle: float | None = None


def meet(kinds: tuple[str, str], idle: float) -> Trial:
    """Let two new peers meet."""
    with World("matrix") as world:
        sites = [world.add_site(name, kind) for name, kind in zip("ab", kinds, strict=True)]
        hosts = [site.add_host(f"peer-{site.name}") for site in sites]
        mesh = Mesh(world)
        mesh.coordinator.start()
        join = f"--join={mesh.coordinator.invite(uses=2)}"
        first = mesh.add_peer(hosts[0], join, **surroundings(sites[0]))
        wait_until(lambda: flavour(first) != "unknown", "the first peer to know its NAT")
        ping = [sys.executable, "-IS", str(PROBER), first.address]
        prober = hosts[1].popen(ping, stdout=subprocess.PIPE, text=True)
        with prober.stdout:
            prober.stdout.readline()
            started = time.monotonic()
            second = mesh.add_peer(hosts[1], join, **surroundings(sites[1]))
            trial = watch((first, second), prober.stdout, started, hopeful(kinds))
        if idle and trial.direct is not None:
            trial.idle = count_idle(hosts[0], idle)
        return trial


def hopeful(kinds: Sequence[str]) -> bool:
    """Whether the pair is to be direct, over UDP or, where that is blocked, over TCP."""
    pair = [KINDS[kind] for kind in kinds]
    return punchable(*pair) or connectable(*pair)


def surroundings(site: Site) -> dict[str, str]:
    """The environment of a user behind that gateway."""
    return {"https_proxy": site.proxy} if site.proxy else {}


def flavour(peer: Peer) -> str:
    """What the peer thinks its NAT is."""
    return str(peer.status().get("nat", {}).get("flavour", "unknown"))


def watch(peers: tuple[Peer, Peer], prober: IO[str], started: float, hopes: bool) -> Trial:
    """Look at both peers until there is no more to see."""
    trial = Trial()
    one, other = peers
    registered = 0.0
    while time.monotonic() - started < LIMIT:
        if trial.start is None and other.link is not None:
            registered = time.monotonic()
            trial.start = registered - started
        if trial.first is None and select.select([prober], [], [], 0)[0]:
            trial.first = float(prober.readline()) - started
        if trial.start is not None:
            trial.paths = one.path_to(other.name), other.path_to(one.name)
            if trial.paths in DIRECT and trial.direct is None:
                trial.direct = time.monotonic() - registered
            if trial.first is not None:
                trial.both = max(0.0, trial.first - trial.start)
                settled = time.monotonic() - registered > SETTLE
                if trial.direct is not None or (settled and not hopes):
                    break
        time.sleep(LOOK)
    return trial


def count_idle(host: Host, seconds: float) -> float:
    """UDP packets a minute that a host receives and sends while nobody uses the path.

    :param seconds: how long to count, after half as long: peers that have just met say more.
    """

    def passed() -> int:
        lines = host.run(["cat", "/proc/net/snmp"]).stdout.splitlines()
        names, values = (line.split() for line in lines if line.startswith("Udp:"))
        table = dict(zip(names, values, strict=True))
        return int(table["InDatagrams"]) + int(table["OutDatagrams"])

    time.sleep(seconds / 2)
    before = passed()
    time.sleep(seconds)
    return (passed() - before) * 60 / seconds


def row(kinds: tuple[str, str], trials: Sequence[Trial]) -> dict[str, Any]:
    """What the trials of one pair say together: medians, and what the last was on."""
    return {
        "kinds": kinds,
        "hopeful": hopeful(kinds),
        "connected": sum(trial.first is not None for trial in trials),
        "start": median(trial.start for trial in trials),
        "first": median(trial.first for trial in trials),
        "both": median(trial.both for trial in trials),
        "direct": median(trial.direct for trial in trials),
        "path": " + ".join(dict.fromkeys(str(path) for path in trials[-1].paths)),
        "idle": median(trial.idle for trial in trials),
        "trials": [asdict(trial) for trial in trials],
    }


def median(values: Iterable[float | None]) -> float | None:
    """The median of those that there are."""
    return statistics.median(known) if (known := [v for v in values if v is not None]) else None


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All pairs together."""
    trials = [(each, trial) for each in rows for trial in each["trials"]]
    wanted = [trial for each, trial in trials if each["hopeful"]]
    direct = [trial for trial in wanted if trial["direct"] is not None]

    def figures(values: Iterable[float | None]) -> dict[str, float | None]:
        known = [value for value in values if value is not None]
        return {"median": median(known), "worst": max(known, default=None)}

    result: dict[str, Any] = {
        "pairs": len(rows),
        "connected_percent": percent(sum(t["first"] is not None for _, t in trials), len(trials)),
        "hopeful_direct_percent": percent(len(direct), len(wanted)),
        "ends_agree_percent": percent(
            sum(agreed(trial["paths"]) for _, trial in trials), len(trials)
        ),
        "start": figures(trial["start"] for _, trial in trials),
        "first": figures(trial["first"] for _, trial in trials),
        "both": figures(trial["both"] for _, trial in trials),
        "direct": figures(trial["direct"] for trial in direct),
        "direct_from_start": figures(trial["start"] + trial["direct"] for trial in direct),
        "idle": figures(trial["idle"] for _, trial in trials),
    }
    for name, key in (("first", "first"), ("direct", "direct_from_start")):
        ours = result[key]["median"]
        result[f"{name}_times_elsewhere"] = ours and ours / ELSEWHERE[name]
    return result


def agreed(paths: Sequence[str | None]) -> bool:
    """Whether both are direct, or both relayed: each end of a relayed path names its own link."""
    return None not in paths and (tuple(paths) in DIRECT or not {"udp", "tcp"} & set(paths))


def percent(part: int, whole: int) -> float | None:
    """*part* of *whole*, or None of nothing."""
    return 100 * part / whole if whole else None


def shown(value: float | None, form: str = "7.2f") -> str:
    """A number, or a dash of the same width."""
    return format("-", f">{form[0]}") if value is None else format(value, form)


HEAD = f"{'':42} {'start':>7} {'first':>7} {'both up':>7} {'direct':>7} {'idle/min':>8}  path"


def line(each: dict[str, Any]) -> str:
    """One pair, for people."""
    times = " ".join(shown(each[name]) for name in ("start", "first", "both", "direct"))
    note = "" if each["connected"] == len(each["trials"]) else "  NOT CONNECTED"
    if each["hopeful"] and any(trial["direct"] is None for trial in each["trials"]):
        note += "  NOT DIRECT"
    pair = " x ".join(each["kinds"])
    return f"{pair:42} {times} {shown(each['idle'], '8.1f')}  {each['path']}{note}"


def told(result: dict[str, Any]) -> Iterator[str]:
    """The summary, for people."""
    yield f"connected {result['connected_percent']:.0f} % of {result['pairs']} pairs"
    if result["hopeful_direct_percent"] is not None:
        yield f"direct {result['hopeful_direct_percent']:.0f} % of those that can be"
    yield f"both ends agree in {result['ends_agree_percent']:.0f} %"
    for name, words in (
        ("start", "second process started to registered"),
        ("first", "second process started to first round trip"),
        ("both", "both registered to first round trip"),
        ("direct", "both registered to direct on both ends"),
        ("direct_from_start", "second process started to direct on both ends"),
    ):
        figures = result[name]
        yield f"{words}: median {shown(figures['median'])} s, worst {shown(figures['worst'])} s"
    for name, seconds in ELSEWHERE.items():
        times = result[f"{name}_times_elsewhere"]
        yield f"{name}: {shown(times, '4.1f')} times the {seconds} s of the best measured elsewhere"


def measure(options: Namespace) -> Iterator[dict[str, Any]]:
    """Every pair in turn."""
    for kinds in combinations_with_replacement(options.kinds, 2):
        trials = []
        for _ in range(options.trials):
            try:
                trials.append(meet(kinds, options.idle))
            except LabError as error:
                print(f"{' x '.join(kinds)}: {error}", file=sys.stderr)
                trials.append(Trial())
        yield row(kinds, trials)


def special(cells: Any, options: Namespace) -> None:
    """Measure pairs of another kind: :mod:`bench.hard_cells` or :mod:`bench.mapped_cells`."""
    rows = []
    if not options.json:
        print(cells.HEAD)
    for each in cells.measure(options.trials, options.only):
        rows.append(each)
        if not options.json:
            print(cells.line(each), flush=True)
    if options.json:
        print(json.dumps({"cells": rows}))


def kinds_named(text: str) -> list[str]:
    """Kinds, with commas between, or ``all``."""
    kinds = list(KINDS) if text == "all" else text.split(",")
    if unknown := set(kinds) - set(KINDS):
        raise ArgumentTypeError(f"no kind is called {', '.join(unknown)}: {', '.join(KINDS)}")
    return kinds


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", type=kinds_named, default=BASIC, help=f"or all [{BASIC}]")
    parser.add_argument("--trials", type=int, default=1, help="of each pair")
    parser.add_argument(
        "--idle", type=float, default=0.0, metavar="SECONDS", help="count packets for so long"
    )
    parser.add_argument("--hard", action="store_true", help="only pairs that others relay")
    parser.add_argument(
        "--mapped", action="store_true", help="only pairs with a router that maps ports on request"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="of those, the cells so named")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    reenter()
    if options.hard or options.mapped:
        special(hard_cells if options.hard else mapped_cells, options)
        return
    rows = []
    if not options.json:
        print(HEAD)
    for each in measure(options):
        rows.append(each)
        if not options.json:
            print(line(each), flush=True)
    result = summary(rows)
    if options.json:
        print(json.dumps({"pairs": rows, "summary": result}))
    else:
        print(*told(result), sep="\n")


if __name__ == "__main__":
    main()
