"""What happens to a pair of machines when the network around them changes.

``python -m bench.resilience [--trials 20] [--part NAME]… [--json FILE]``

Real peers behind the laboratory's NATs, with a datagram every 10 ms between them and a TCP stream
whose every byte is checked. An outage is the longest time without an answer. "Direct again" counts
from the change until both ends are, and stay, on UDP with answers coming.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.traffic import Probe, Stream, reflector
from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel import World, available, reenter
from tunnelmesh.lab.kernel.mesh import Mesh, Peer, wait_until

HOLD = 2.0
"""Seconds that a pair must stay on a path with answers coming: a path in doubt is replaced in half
of it, so what stays is not in doubt."""

LIMIT = 60.0
"""Seconds after which something counts as never having happened."""

RATE = 1_000_000
"""Bytes a second of the stream: enough to be always under way, little enough to measure beside."""

SITES = {
    "home": "port-restricted",
    "cafe": "port-restricted",
    "office": "full-cone",
    "hotel": "udp-blocked",
}


@dataclass
class Figure:
    """One thing measured many times.

    :ivar target: what its 95th percentile should not be worse than, in *unit*, if there is such.
    :ivar others: what other systems need, for comparison.
    """

    name: str
    target: float | None
    unit: str = "s"
    others: dict[str, float] = field(default_factory=dict)
    at_least: bool = False
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        """The one that 95 % are not worse than: the nearest rank."""
        ordered = sorted(self.values, reverse=self.at_least)
        return ordered[math.ceil(0.95 * len(ordered)) - 1]

    @property
    def reached(self) -> bool:
        """Whether it is as good as it should be."""
        if self.target is None:
            return True
        return self.p95 >= self.target if self.at_least else self.p95 <= self.target


class Scene:
    """A world with a pair that can meet, and a third peer that is always relayed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sites = {name: world.add_site(name, kind) for name, kind in SITES.items()}
        self.laptop = self.sites["home"].add_host("laptop")
        self.server = self.sites["office"].add_host("server")
        self.tablet = self.sites["hotel"].add_host("tablet")
        self.mesh = Mesh(world)
        self.mesh.coordinator.start()
        token = self.mesh.coordinator.invite(uses=3)
        for host in (self.laptop, self.server, self.tablet):
            options = ["--relay-only"] if host is self.tablet else []
            self.mesh.add_peer(host, f"--join={token}", *options)
        self.ends: tuple[Peer, Peer] = self.mesh.peers["laptop"], self.mesh.peers["server"]
        reflector(self.server)
        wait_until(self.is_direct, "a direct path")
        wait_until(lambda: self.mesh.peers["tablet"].path_to("server"), "a relayed path")

    @property
    def address(self) -> str:
        """The server's, inside the mesh."""
        return self.ends[1].address

    def probe(self, by: str = "laptop") -> Probe:
        """Begin to send datagrams to the server."""
        return Probe(self.world.hosts[by], self.address, self.world.folder / f"{by}.answers")

    def stream(self, rate: int = RATE) -> Stream:
        """Begin to send a stream to it."""
        file = self.world.folder / "stream.progress"
        return Stream(self.server, self.address, self.laptop, file, rate)

    def is_direct(self) -> bool:
        """Whether both ends say that they use UDP."""
        laptop, server = self.ends
        return laptop.path_to("server") == "udp" == server.path_to("laptop")

    def settle(self, probe: Probe, condition: Callable[[], bool], since: float) -> float:
        """Seconds from *since* until a condition holds, and goes on to hold."""
        return probe.settle(condition, since, HOLD, LIMIT)

    def history(self) -> list[dict[str, Any]]:
        """Changes of the pair's path, as the laptop saw them."""
        changes: list[dict[str, Any]] = self.ends[0].ask("history", peer="server")
        return changes


class Measurement:
    """What was measured so far."""

    def __init__(self, trials: int, verbose: bool) -> None:
        self.trials = trials
        self.figures: dict[str, Figure] = {}
        self._verbose = verbose

    def note(self, name: str, value: float, target: float | None, **about: Any) -> None:
        """Take one value down."""
        self.figures.setdefault(name, Figure(name, target, **about)).values.append(value)
        if self._verbose:
            print(f"{name}: {value:.3f}", file=sys.stderr, flush=True)


@contextmanager
def under_traffic(scene: Scene, measurement: Measurement) -> Iterator[Probe]:
    """Send datagrams and a stream meanwhile; the stream must arrive whole."""
    probe, stream = scene.probe(), scene.stream()
    wait_until(lambda: stream.received(), "the stream")
    scene.settle(probe, scene.is_direct, time.monotonic())
    try:
        yield probe
    finally:
        delivery = stream.finish(LIMIT)
        probe.stop()
        lost = delivery.sent - delivery.received
        if delivery.wrong is not None:
            lost = delivery.sent - delivery.wrong
        measurement.note("stream: bytes lost or wrong", lost, 0, unit="")
        measurement.note("stream: resets", delivery.error is not None, 0, unit="")


def block(scene: Scene, measurement: Measurement) -> None:
    """UDP is blocked at one gateway under traffic, and unblocked again."""
    site = scene.sites["home"]
    for _ in range(measurement.trials):
        with under_traffic(scene, measurement) as probe:
            blocked = time.monotonic()
            site.block(udp=True)
            scene.settle(probe, lambda: not scene.is_direct(), blocked)
            others = {"EasyTier": 23.0, "tinc": 9.0, "aioice": 38.0}
            measurement.note("UDP blocked: outage", probe.silence(blocked), 1.0, others=others)
            site.unblock()
            again = scene.settle(probe, scene.is_direct, time.monotonic())
            others = {"EasyTier": 0.4, "tinc": 9.7}
            measurement.note("UDP unblocked: direct again", again, 5.0, others=others)


def idle(scene: Scene, measurement: Measurement) -> None:
    """UDP is blocked while nobody sends; then somebody does."""
    site = scene.sites["home"]
    for _ in range(measurement.trials):
        wait_until(scene.is_direct, "a direct path", LIMIT)
        time.sleep(HOLD)
        site.block(udp=True)
        begun = time.monotonic()
        probe = scene.probe()
        scene.settle(probe, lambda: not scene.is_direct(), begun)
        first = probe.answers[0].arrived - begun if probe.answers else math.inf
        measurement.note("UDP blocked while idle: first answer", first, 5.0)
        probe.stop()
        site.unblock()


def kind(scene: Scene, measurement: Measurement) -> None:
    """The gateway becomes another kind: every flow is forgotten."""
    site = scene.sites["home"]
    kinds = ("symmetric", "restricted-cone", "linux", "port-restricted")
    for trial in range(measurement.trials):
        with under_traffic(scene, measurement) as probe:
            changed = time.monotonic()
            site.change(kinds[trial % len(kinds)])
            again = scene.settle(probe, scene.is_direct, changed)
            measurement.note("NAT changed: outage", probe.silence(changed), 1.0)
            measurement.note("NAT changed: direct again", again, 5.0)
    site.change(SITES["home"])


def roam(scene: Scene, measurement: Measurement) -> None:
    """The gateway gets another outside address; the laptop is carried to another LAN."""
    homes = [scene.sites["cafe"], scene.sites["home"]]
    for trial in range(measurement.trials):
        with under_traffic(scene, measurement) as probe:
            changed = time.monotonic()
            homes[(trial + 1) % 2].roam()
            again = scene.settle(probe, scene.is_direct, changed)
            measurement.note("new outside address: outage", probe.silence(changed), 1.0)
            measurement.note("new outside address: direct again", again, 5.0)
            changed = time.monotonic()
            scene.laptop.move_to(homes[trial % 2])
            again = scene.settle(probe, scene.is_direct, changed)
            measurement.note("carried to another LAN: outage", probe.silence(changed), 1.0)
            measurement.note("carried to another LAN: direct again", again, 5.0)
    scene.laptop.move_to(scene.sites["home"])


def link(scene: Scene, measurement: Measurement) -> None:
    """TCP 2222 is blocked before a relayed peer, and unblocked."""
    site, tablet = scene.sites["hotel"], scene.mesh.peers["tablet"]
    probe = scene.probe("tablet")
    for _ in range(measurement.trials):
        scene.settle(probe, lambda: tablet.link == "ssh", time.monotonic())
        changed = time.monotonic()
        site.block(tcp_port=2222)
        over = scene.settle(probe, lambda: tablet.link == "websocket", changed)
        measurement.note("TCP 2222 blocked: outage", probe.silence(changed), 3.0)
        measurement.note("TCP 2222 blocked: on WebSocket", over, 3.0)
        changed = time.monotonic()
        site.unblock()
        back = scene.settle(probe, lambda: tablet.link == "ssh", changed)
        measurement.note("TCP 2222 unblocked: on SSH", back, 10.0)
        measurement.note("TCP 2222 unblocked: outage", probe.silence(changed), 1.0)
    probe.stop()


def coordinator(scene: Scene, measurement: Measurement) -> None:
    """The coordinator is killed, and started three seconds later."""
    for _ in range(measurement.trials):
        with under_traffic(scene, measurement) as direct:
            relayed = scene.probe("tablet")
            scene.settle(relayed, lambda: True, time.monotonic())
            killed = time.monotonic()
            scene.mesh.coordinator.kill()
            time.sleep(3.0)
            scene.mesh.coordinator.start()
            listens = time.monotonic()
            back = scene.settle(relayed, lambda: True, listens)
            end = time.monotonic() - 0.5
            measurement.note("coordinator restarted: relayed again", max(back, 0.0), 3.0)
            lost = direct.lost(killed, end)
            measurement.note("coordinator restarted: lost on direct", lost, 0, unit="")
            relayed.stop()


def loss(scene: Scene, measurement: Measurement) -> None:
    """An uplink loses 5 % of its packets, each way, for 20 seconds."""
    site = scene.sites["home"]
    probe, stream = scene.probe(), scene.stream(rate=0)
    wait_until(lambda: stream.received(), "the stream")
    time.sleep(1.0)
    clean = _rate(stream, 5.0)
    begun, changes = time.monotonic(), len(scene.history())
    site.lose(5)
    lossy = _rate(stream, 20.0)
    more = len(scene.history()) - changes
    measurement.note("5 % loss: changes of path", more, 0, unit="")
    measurement.note("5 % loss: longest silence", probe.silence(begun), 1.0)
    site.lose(0)
    share = lossy / clean
    measurement.note("5 % loss: part of the throughput", share, None, unit="", at_least=True)
    delivery = stream.finish(LIMIT)
    probe.stop()
    measurement.note("stream: bytes lost or wrong", delivery.sent - delivery.received, 0, unit="")
    measurement.note("stream: resets", delivery.error is not None, 0, unit="")


def _rate(stream: Stream, seconds: float) -> float:
    """Mbit/s over the next seconds."""
    before, begun = stream.received(), time.monotonic()
    time.sleep(seconds)
    return 8e-6 * (stream.received() - before) / (time.monotonic() - begun)


PARTS = (block, idle, kind, roam, link, coordinator, loss)


def show(figures: dict[str, Figure]) -> None:
    """Print the table."""
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs")
    print(f"{'':40} {'median':>9} {'p95':>9} {'target':>9}")
    for figure in figures.values():
        sign = "≥" if figure.at_least else "≤"
        target = "" if figure.target is None else f"{sign} {figure.target:g}"
        row = f"{figure.name:40} {figure.median:9.2f} {figure.p95:9.2f} {target:>9}"
        others = [
            f"{name} {each / figure.median:.2g} times" for name, each in figure.others.items()
        ]
        verdict = "" if figure.reached else "MISSED"
        print(row, f"{figure.unit:6} n={len(figure.values):<3}", verdict, ", ".join(others))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.resilience", description=__doc__)
    parser.add_argument("--trials", type=int, default=20, help="of each change (default 20)")
    names = [part.__name__ for part in PARTS]
    parser.add_argument("--part", action="append", choices=names, help="only these")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values there")
    parser.add_argument("--verbose", action="store_true", help="show each value as it comes")
    options = parser.parse_args()
    if missing := available():
        parser.error(missing)
    reenter()
    measurement = Measurement(options.trials, options.verbose)
    for part in PARTS:
        if options.part and part.__name__ not in options.part:
            continue
        with World("resilience") as world:
            try:
                part(Scene(world), measurement)
            except LabError as error:
                print(f"{part.__name__}: {error}", file=sys.stderr)
    show(measurement.figures)
    if options.json:
        options.json.write_text(json.dumps([asdict(f) for f in measurement.figures.values()]))


if __name__ == "__main__":
    main()
