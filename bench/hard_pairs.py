"""Hard punches against NATs of plain arithmetic: how often they hit, how soon, at what cost.

Two NATs, two sockets and a STUN server, without anything else of a mesh: what the pure machines in
:mod:`tunnelmesh.nat` do by themselves, thousands of times.
"""

from __future__ import annotations

import heapq
import json
import statistics
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import count
from random import Random
from typing import Any

from tunnelmesh.coordinator.stun_answer import answer
from tunnelmesh.lab.sim.allocation import PortChoice
from tunnelmesh.lab.sim.behaviour import Behaviour, behaviour
from tunnelmesh.lab.sim.translation import Translation
from tunnelmesh.nat.allocation import Sample, allocation
from tunnelmesh.nat.behaviour import Filtering, Mapping, NatBehaviour
from tunnelmesh.nat.sampling import Ask, Sampled, Sampling
from tunnelmesh.nat.tactics import approach, tactics
from tunnelmesh.nat.volley import Shot, Volley
from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint

SERVER = Endpoint("203.0.113.10", 3478)
MAIN = 4000
FRESH = 50_000
"""Ports inside: of the main socket, and of the first fresh one."""

CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "random x cone": ("symmetric", "port-restricted", {}),
    "random x cone, 5 % lost": ("symmetric", "port-restricted", {"loss": 0.05}),
    "block of 2048 x cone": ("symmetric", "port-restricted", {"block": 2048}),
    "block of 512 x cone": ("symmetric", "port-restricted", {"block": 512}),
    "sequential x cone": ("symmetric-sequential", "port-restricted", {}),
    "sequential x cone, 20 others/s": (
        "symmetric-sequential",
        "port-restricted",
        {"others": 20.0},
    ),
    "sequential x sequential": ("symmetric-sequential", "symmetric-sequential", {}),
    "sequential x sequential, 5 % lost": (
        "symmetric-sequential",
        "symmetric-sequential",
        {"loss": 0.05},
    ),
    "sequential x sequential, 20 others/s": (
        "symmetric-sequential",
        "symmetric-sequential",
        {"others": 20.0},
    ),
    "random x random": ("symmetric", "symmetric", {}),
}


@dataclass
class Duel:
    """What became of one hard punch.

    :ivar approach: how it was tried.
    :ivar seconds: from the start until both sides had an answer, or None.
    :ivar probes: what each side sent.
    """

    approach: str
    seconds: float | None = None
    probes: tuple[int, int] = (0, 0)


class Side:
    """A machine behind a NAT."""

    def __init__(self, name: str, host: str, b: Behaviour, random: Random) -> None:
        self.name = name
        self.host = host
        self.nat = Translation(
            (host,),
            b.mapping,
            b.filtering,
            PortChoice(b.ports, b.step, b.block, b.others, random),
            b.lifetime,
            random,
        )
        self.known = NatBehaviour(Mapping(b.mapping), Filtering(b.filtering))
        self.volley: Volley | None = None
        self.sampled_at = 0.0


class Arena:
    """Two sides, a clock, and lines of some latency and loss."""

    def __init__(
        self,
        kinds: tuple[str, str],
        seed: int,
        latency: float = 0.03,
        loss: float = 0.0,
        **changes: Any,
    ) -> None:
        self.random = Random(f"{seed} duel")
        self._latency = latency
        self._loss = loss
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._tokens = count(1)
        self.now = 1000.0
        self.sides = []
        for number, kind in enumerate(kinds, 1):
            host = f"198.51.100.{number}"
            described = behaviour(kind)
            if described.mapping != "endpoint-independent":
                described = replace(described, **changes)
            self.sides.append(Side(kind, host, described, self.random))

    def run(self) -> Duel:
        """Sample, agree, and fire."""
        a, b = self.sides
        for side in self.sides:
            self._look(side)
        duel = Duel(approach(a.known, b.known))
        start = self.now + 2 * self._latency  # the way of a Prepared, and of a Meet
        agreed = tactics(a.known, b.known, start - a.sampled_at, start - b.sampled_at)
        if agreed is None:
            return duel
        for side, other, tactic in ((a, b, agreed[0]), (b, a, agreed[1])):
            begin = start + self.random.uniform(0.0, 0.01)
            tokens = self._tokens.__next__
            side.volley = Volley(tactic, other.host, begin, tokens, self.random)
            self._arm(side)
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()
            if all(side.volley is not None and side.volley.hit for side in self.sides):
                duel.seconds = self.now - start
                break
        duel.probes = tuple(s.volley.probes for s in self.sides if s.volley)  # type: ignore[assignment]
        return duel

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._number), event))

    def _look(self, side: Side) -> None:
        """Learn what a peer knows of its NAT."""
        external = side.nat.outbound(Endpoint("10.0.0.2", MAIN), SERVER, self.now)
        sampling = Sampling(SERVER, self.random.randbytes, self.now)
        arriving: list[tuple[float, int, bytes]] = []
        while (deadline := sampling.deadline) is not None:
            if arriving and arriving[0][0] <= deadline:
                self.now, socket, datagram = heapq.heappop(arriving)
                outputs = sampling.receive(socket, datagram, SERVER)
            else:
                self.now = deadline
                outputs = sampling.expire(self.now)
            for output in outputs:
                if isinstance(output, Ask):
                    inner = Endpoint("10.0.0.2", FRESH - 1000 + output.socket)
                    seen = side.nat.outbound(inner, SERVER, self.now)
                    assert seen is not None
                    answered = answer(stun.decode(output.send.datagram), seen, SERVER, SERVER)
                    assert answered is not None
                    back = self.now + 2 * self._latency
                    heapq.heappush(arriving, (back, output.socket, stun.encode(answered[0])))
                elif isinstance(output, Sampled):
                    answers = output.answers
        samples = [Sample(each.at, FRESH - 1000 + each.socket, each.external) for each in answers]
        side.sampled_at = samples[-1].at
        side.known = replace(side.known, external=external, allocation=allocation(samples))

    def _arm(self, side: Side) -> None:
        assert side.volley is not None
        if side.volley.deadline is not None:
            self._at(max(self.now, side.volley.deadline), lambda: self._expired(side))

    def _expired(self, side: Side) -> None:
        assert side.volley is not None
        if side.volley.deadline is not None and self.now >= side.volley.deadline:
            for shot in side.volley.expire(self.now):
                self._ping(side, shot)
            self._arm(side)

    def _ping(self, side: Side, shot: Shot) -> None:
        inner = MAIN if shot.socket is None else FRESH + shot.socket
        self._send(side, inner, shot.to, lambda *arrived: self._pinged(shot.token, *arrived))

    def _send(
        self,
        side: Side,
        inner: int,
        to: Endpoint,
        arrived: Callable[[Side, int, Endpoint], None],
    ) -> None:
        source = side.nat.outbound(Endpoint("10.0.0.2", inner), to, self.now)
        other = next((each for each in self.sides if each.host == to.host), None)
        if source is None or other is None or self.random.random() < self._loss:
            return

        def arrive() -> None:
            socket = other.nat.inbound(to, source, self.now)
            if socket is not None:
                arrived(other, socket.port, source)

        self._at(self.now + 2 * self._latency, arrive)

    def _pinged(self, token: int, side: Side, inner: int, source: Endpoint) -> None:
        assert side.volley is not None
        self._send(side, inner, source, lambda *arrived: self._ponged(token, arrived[0]))
        socket = None if inner == MAIN else inner - FRESH
        for shot in side.volley.seen(socket, source, self.now):
            self._ping(side, shot)

    def _ponged(self, token: int, side: Side) -> None:
        assert side.volley is not None
        side.volley.ponged(token, self.now)


def duels(case: str, trials: int, first: int = 0) -> list[Duel]:
    """Many of one case."""
    one, other, changes = CASES[case]
    return [Arena((one, other), first + n, **changes).run() for n in range(trials)]


def summary(case: str, results: list[Duel]) -> dict[str, Any]:
    """Share, times and costs."""
    times = sorted(duel.seconds for duel in results if duel.seconds is not None)
    probes = [max(duel.probes) for duel in results]
    return {
        "case": case,
        "approach": results[0].approach,
        "share": len(times) / len(results),
        "median_s": statistics.median(times) if times else None,
        "p95_s": times[int(0.95 * len(times))] if times else None,
        "median_probes": statistics.median(probes),
        "most_probes": max(probes),
    }


def main() -> None:
    parser = ArgumentParser(prog="bench.hard_pairs", description=__doc__)
    parser.add_argument("--trials", type=int, default=1000, help="of each case [1000]")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    for case in CASES:
        results = duels(case, args.trials)
        row = summary(case, results)
        rows.append(row)
        if args.json:
            row["duels"] = [asdict(duel) for duel in results]
            continue
        times = "" if row["median_s"] is None else f"{row['median_s']:6.2f} {row['p95_s']:6.2f} s"
        print(
            f"{case:38} {row['approach']:9} {row['share']:7.1%} {times:16}"
            f" {row['median_probes']:6.0f} {row['most_probes']:5} probes",
            flush=True,
        )
    if args.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
