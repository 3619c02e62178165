"""Tunnels side by side: between two machines of the laboratory, in turns, on the same cores.

``python -m bench.throughput [--part tcp,loss] [--systems raw,tunnelmesh,wireguard-go] [--json]``

Each system has a pair of machines and a wire (a veth) of its own, and all are up all the time. In
every round each part is measured with each system in turn; the medians of the rounds are printed,
then the same as multiples of wireguard-go's and of the raw wire's. What is not installed is named
and left out. Both machines' programs, iperf3 among them, share this machine's cores.

Loss is drawn by nftables for each datagram; the long wire is a program (see delay_line.py), because
few kernels have netem. CPU is the time of the tunnel's processes alone.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench.throughput.idle import idle
from bench.throughput.line import Laboratory, missing
from bench.throughput.measures import PARTS, Figures
from bench.throughput.profiling import WAYS, profile
from bench.throughput.systems import FETCHED, SYSTEMS
from bench.throughput.systems.system import System
from bench.throughput.systems.tunnelmesh import TunnelMesh
from bench.throughput.table import medians, ratios, table
from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel import World, reenter
from tunnelmesh.lab.kernel.mesh import wait_until
from tunnelmesh.lab.kernel.programs import end

BASES = ("wireguard-go", "raw")
"""Whom the others are compared with."""


def say(text: str) -> None:
    """Tell how it goes, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def cache() -> Path:
    """Where downloads are kept (XDG)."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "tunnelmesh-bench"


def among(names: Sequence[str]) -> Callable[[str], list[str]]:
    """Read some of these names, with commas between."""

    def read(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(names):
            raise ArgumentTypeError(f"{', '.join(sorted(unknown))}: not among {', '.join(names)}")
        return [name for name in names if name in chosen]

    return read


def start(laboratory: Laboratory, options: Namespace) -> Iterator[System]:
    """Bring up whatever is there."""
    for name in options.systems:
        if lacking := SYSTEMS[name].missing(options):
            say(f"{name} is left out: {lacking}")
            continue
        system = SYSTEMS[name](laboratory, options)
        try:
            system.up()
        except LabError as error:
            end(system.programs)
            say(f"{name} is left out: {error}\n{system.last_words()}")
            continue
        say(f"{name} {system.version()}")
        yield system


class Record:
    """What was measured.

    :ivar rounds: each system's figures, round by round.
    :ivar notes: what went wrong, in words.
    """

    def __init__(self, systems: Sequence[System]) -> None:
        self.rounds: dict[str, list[Figures]] = {system.name: [] for system in systems}
        self.notes: list[str] = []

    def add(self, system: System, part: str, action: Callable[[], Figures]) -> None:
        """Do a part with a system, in its newest round."""
        try:
            wait_until(system.direct, f"{system.name} to be direct")
            figures = action()
        except (LabError, ValueError) as error:
            self.note(f"{system.name}, {part}: {error}")
            return
        if not system.direct():
            self.note(f"{system.name}, {part}: it left the direct path meanwhile")
        self.rounds[system.name][-1].update(figures)
        shown = ", ".join(f"{k} {v:.4g}" for k, v in figures.items() if v is not None)
        say(f"{len(self.rounds[system.name])}. {system.name}: {shown}")

    def note(self, text: str) -> None:
        """Keep it for the end, and tell it now."""
        self.notes.append(text)
        say(text)


def measure(systems: Sequence[System], options: Namespace) -> Record:
    """Do every part with every system in turn, as often as asked."""
    record = Record(systems)
    for _ in range(options.rounds):
        for each in record.rounds.values():
            each.append({})
        for part in (each for each in options.part if each in PARTS):
            for system in systems:
                record.add(system, part, partial(PARTS[part], system, options.seconds))
    if "idle" in options.part:  # once: what it needs stays
        for system in systems:
            if type(system) is TunnelMesh:
                record.add(system, "idle", partial(idle, system))
    return record


def report(record: Record, systems: Sequence[System], options: Namespace) -> None:
    """Print what was found."""
    results = medians(record.rounds)
    load = os.getloadavg()[0]
    bases = [base for base in BASES if base in results]
    if options.json:
        print(
            json.dumps(
                {
                    "seconds": options.seconds,
                    "underlay_offloads": options.underlay_offloads,
                    "versions": {system.name: system.version() for system in systems},
                    "cpus": os.cpu_count(),
                    "load": load,
                    "rounds": record.rounds,
                    "notes": record.notes,
                    "medians": results,
                    "ratios": {base: ratios(results, base) for base in bases},
                }
            )
        )
        return
    wire = "with" if options.underlay_offloads else "without"
    print(
        f"medians of {options.rounds} x {options.seconds:g} s, {wire} the wire's offloads;"
        f" {os.cpu_count()} CPUs, load {load:.1f}"
    )
    print(*table("", results), sep="\n")
    for base in bases:
        print("", *table(f"times {base}", ratios(results, base), ".2f"), sep="\n")
    for note in record.notes:
        print(note)


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(prog="python -m bench.throughput", description=__doc__.split("\n")[0])
    add = parser.add_argument
    parts, systems = [*PARTS, "idle"], list(SYSTEMS)
    add("--part", type=among(parts), default=parts, metavar="PART,…", help=", ".join(parts))
    add("--systems", type=among(systems), default=systems, metavar="…", help=", ".join(systems))
    add("--rounds", type=int, default=5, help="of which the medians are taken (5)")
    add("--seconds", type=float, default=3.0, help="of each measurement (3)")
    add("--no-underlay-offloads", action="store_false", dest="underlay_offloads")
    add("--json", action="store_true", help="print one JSON object")
    add("--cache", type=Path, default=cache(), metavar="DIR", help="of what --fetch unpacks")
    add("--profile", choices=WAYS, help="profile a TunnelMesh peer that sends (out) or receives")
    add("--fetch", action="store_true", help="get wireguard-go with offloads, and EasyTier; end")
    options = parser.parse_args()
    try:
        if options.fetch:
            for each in FETCHED:
                print(each.fetch(options.cache))
            return
        reenter()
        if lacking := missing():
            raise LabError(lacking)
        with World("throughput") as world:
            laboratory = Laboratory(world, options.underlay_offloads)
            if options.profile:
                kinds = [SYSTEMS[name] for name in options.systems]
                kind = next((each for each in kinds if issubclass(each, TunnelMesh)), TunnelMesh)
                print(profile(laboratory, kind, options))
                return
            running = list(start(laboratory, options))
            report(measure(running, options), running, options)
    except LabError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
