"""Random worlds on the simulated internet, random things that happen to them, and what must hold.

Two to five machines behind random gateways, on random lines, run the real peers and the real
coordinator. One TCP stream inside the mesh never stops, all pairs ping each other. After each
change, within :data:`SETTLE` simulated seconds, every pair whose gateways allow it is on a direct
path at both ends, every other pair is relayed, all reach each other, and the stream has brought
every byte. Nothing may be left behind that grows.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.python.monkey import MonkeyPatcher

from tunnelmesh.lab.sim import KINDS, Internet, Link
from tunnelmesh.lab.sim.mesh import SimulatedCoordinator, SimulatedPeer
from tunnelmesh.lab.sim.nat import Nat
from tunnelmesh.lab.sim.trace import Trace
from tunnelmesh.paths.ladder import MAX_WAYS

SETTLE = 60.0
"""Simulated seconds after a change within which everything must hold: a pair whose gateways did not
allow a direct path, and are replaced without a sign, is looked at every thirty."""

STEP = 0.25
"""Simulated seconds between looks at whether everything holds."""

CHANGES = 6
"""Things that happen in one scenario."""

PROXIED = ("proxy-only", "proxy-auth")
LOGIN = ("user", "secret")

TRANSLATING = tuple(kind for kind, b in KINDS.items() if b.translates and kind not in PROXIED)
"""Kinds that a gateway can become with machines behind it."""

STRICT = "address-and-port-dependent"

MAX_CALLS = 60
"""Delayed calls of one machine at rest: a few for each other machine, and some for its links."""

MAX_CONNECTIONS = 8
"""TCP connections of one machine, those that still say goodbye included."""


class ViolationError(AssertionError):
    """Something that must hold does not."""


class _Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class _Check(Protocol):
    """Compares what comes back with what was sent."""

    transport: Any

    def __init__(self) -> None:
        self.sent = bytearray()
        self.received = 0
        self.wrong = ""

    def send(self, data: bytes) -> None:
        self.sent += data
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        if self.sent[self.received : self.received + len(data)] != data:
            self.wrong = f"other bytes than were sent after {self.received}"
        self.received += len(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.wrong = f"the stream was lost after {self.received} bytes: {reason.value}"


@dataclass(eq=False)
class Place:
    """A network behind one gateway, or behind a gateway that is behind another.

    :ivar gateways: the innermost first.
    """

    gateways: list[Nat]
    proxy: str = "none"
    machines: list[SimulatedPeer] = field(default_factory=list)
    addresses: int = 1

    @property
    def kinds(self) -> str:
        """For people."""
        return " in ".join(_kind(gateway) for gateway in self.gateways)

    @property
    def is_private(self) -> bool:
        """Whether machines here have private addresses."""
        return self.gateways[0].behaviour.translates

    def free_address(self) -> str:
        """An address for one more machine."""
        self.addresses += 1
        return f"192.168.1.{self.addresses}" if self.is_private else self.gateways[0].address


def _kind(gateway: Nat) -> str:
    return next((k for k, b in KINDS.items() if b == gateway.behaviour), "?")


def may_be_direct(a: Place, b: Place) -> bool:
    """Whether simultaneous punching opens the way between two machines' places."""
    if a is b:
        return True
    for place in (a, b):
        if any(gate._blocks_udp or not gate.behaviour.udp for gate in place.gateways):
            return False

    def symmetric(place: Place) -> bool:
        return any(g.behaviour.translates and g.behaviour.mapping == STRICT for g in place.gateways)

    def strict(place: Place) -> bool:
        return any(gate.behaviour.filtering == STRICT for gate in place.gateways)

    return not (symmetric(a) and strict(b)) and not (symmetric(b) and strict(a))


class Scenario:
    """One random world.

    :ivar story: what happened, for people.
    :ivar settled: simulated seconds until everything held again, by what had happened.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = Random(f"{seed} scenario")
        self.story: list[str] = []
        self.settled: defaultdict[str, list[float]] = defaultdict(list)
        self.internet = Internet(seed)
        self._folder = folder
        self._numbers = iter(range(1, 250))
        self._errors: list[str] = []
        self._stream = _Check()
        self._heard: dict[tuple[str, str], float] = {}

    @property
    def trace(self) -> Trace:
        """The last packets."""
        return self.internet.trace

    def run(self) -> None:
        """Build the world, let things happen, and check.

        :raises ViolationError: if something does not hold.
        """
        patches = MonkeyPatcher(*self.internet.patches())
        patches.patch()
        globalLogPublisher.addObserver(self._logged)
        try:
            self._build()
            self._settle("start")
            self._open_stream()
            for _ in range(CHANGES):
                what = self._change()
                self.internet.run(self.random.uniform(0.0, 5.0))
                self._settle(what)
            self._finish()
        finally:
            globalLogPublisher.removeObserver(self._logged)
            patches.restore()

    # The world.

    def _build(self) -> None:
        random = self.random
        self.internet.link = Link(latency=random.uniform(0.001, 0.020))
        self.coordinator = SimulatedCoordinator(self.internet, self._folder / "coordinator")
        self.coordinator.start()
        self._token = self.coordinator.invite()
        self.places: list[Place] = []
        self.peers: list[SimulatedPeer] = []
        for number in range(random.randint(2, 5)):
            shareable = [
                place for place in self.places if place.is_private and place.proxy == "none"
            ]
            share = bool(shareable) and random.random() < 0.2
            place = random.choice(shareable) if share else self._place()
            self._add_peer(f"p{number}", place)
        for peer in self.peers:
            self.internet.run(random.uniform(0.0, 1.0))
            peer.start()

    def _place(self, *, proxies: bool = True) -> Place:
        random, internet = self.random, self.internet
        kind = random.choice([k for k in KINDS if proxies or k not in PROXIED])
        address = f"198.51.100.{next(self._numbers)}"
        if random.random() < 0.15:
            outer = internet.nat(address, kind=random.choice(TRANSLATING))
            inner = outer.nat("10.0.0.2", kind=random.choice(TRANSLATING))
            place = Place([inner, outer])
        else:
            place = Place([internet.nat(address, kind=kind)])
        place.gateways[-1].uplink = Link(
            latency=0.001 * 150 ** random.random(),
            jitter=random.choice((0.0, 0.0, 0.003, 0.01)),
            loss=random.choice((0.0, 0.0, 0.005, 0.02, 0.05)),
            reorder=random.choice((0.0, 0.0, 0.02)),
            duplicate=random.choice((0.0, 0.0, 0.01)),
        )
        if len(place.gateways) == 1 and kind in PROXIED:
            login = LOGIN if kind == "proxy-auth" else None
            place.gateways[0].proxy(login=login)
            place.proxy = f"http://{'' if login is None else ':'.join(login) + '@'}192.168.1.1:3128"
        self.places.append(place)
        return place

    def _add_peer(self, name: str, place: Place) -> None:
        host = place.gateways[0].host(place.free_address(), name=name)
        folder = self._folder / name
        peer = SimulatedPeer(self.internet, host, folder, self._token, proxy=place.proxy)
        place.machines.append(peer)
        self.peers.append(peer)
        uplink = place.gateways[-1].uplink
        assert uplink is not None
        self._tell(f"{name}: {place.kinds}, {uplink.latency * 1000:.0f} ms, {uplink.loss:.1%} lost")

    def _place_of(self, peer: SimulatedPeer) -> Place:
        return next(place for place in self.places if peer in place.machines)

    def _tell(self, what: str) -> None:
        self.story.append(f"{self.internet.clock.elapsed:8.2f}  {what}")

    def _logged(self, event: dict[str, Any]) -> None:
        if event["log_level"] is LogLevel.critical:
            failure = event.get("log_failure")
            text = formatEvent(event)
            self._errors.append(f"{text}\n{failure.getTraceback()}" if failure else text)

    # What happens.

    def _change(self) -> str:
        random = self.random
        peer = random.choice(self.peers)
        place = self._place_of(peer)
        gateway = random.choice(place.gateways)
        outer = place.gateways[-1]
        port = 2222

        def restart(ends: Callable[[], None], begins: Callable[[], None]) -> Callable[[], None]:
            def act() -> None:
                ends()
                self.internet.run(random.uniform(0.1, 5.0))
                begins()

            return act

        happenings: dict[str, Callable[[], None]] = {
            "block udp": lambda: gateway.block(udp=True),
            "unblock udp": lambda: [g.unblock(udp=True) for g in place.gateways] and None,
            "block ssh": lambda: gateway.block(tcp_port=port),
            "unblock ssh": lambda: [g.unblock(tcp_port=port) for g in place.gateways] and None,
            "forget": gateway.forget,
            "kill coordinator": restart(self.coordinator.kill, self.coordinator.start),
            "kill peer": restart(peer.kill, peer.start),
            "sleep": restart(
                lambda: peer.host.sleep(random.uniform(2, 40)),
                lambda: self.internet.run(max(0.0, peer.host.wakes - peer.host.seconds())),
            ),
        }
        if gateway.behaviour.translates and place.proxy == "none":
            happenings["change kind"] = lambda: gateway.change(random.choice(TRANSLATING))
            happenings["roam"] = lambda: outer.roam(f"198.51.100.{next(self._numbers)}")
            happenings["move"] = lambda: self._move(peer, place)
        name = random.choice(sorted(happenings))
        happenings[name]()
        self._tell(f"{name}: {peer.host.name}, now {self._place_of(peer).kinds}")
        return name

    def _move(self, peer: SimulatedPeer, place: Place) -> None:
        place.machines.remove(peer)
        to = self._place(proxies=False)
        to.machines.append(peer)
        peer.host.move_to(to.gateways[0], to.free_address())

    # What must hold.

    def _open_stream(self) -> None:
        here, there = self.random.sample(self.peers, 2)
        assert here.inner is not None
        assert there.inner is not None
        there.inner.listenTCP(7, Factory.forProtocol(_Echo))
        connectProtocol(TCP4ClientEndpoint(here.inner, there.inner.address, 7), self._stream)
        self._tell(f"stream from {here.host.name} to {there.host.name}")
        self.internet.run_until(lambda: self._stream.transport, SETTLE)
        write_on = self.internet.clock.callLater

        def write() -> None:
            if not self._stream.wrong:
                self._stream.send(self.random.randbytes(self.random.randint(1, 2000)))
            write_on(0.2, write)

        write()

    def _settle(self, what: str) -> None:
        """Wait until everything holds."""
        began = self.internet.clock.elapsed
        self._heard.clear()
        next_pings = began
        while True:
            now = self.internet.clock.elapsed
            problem = self._problem(began)
            if self._errors or self._stream.wrong:
                raise ViolationError("\n".join([*self._errors, self._stream.wrong]))
            if problem is None:
                break
            if now - began > SETTLE:
                raise ViolationError(f"{SETTLE:.0f} s after '{what}': {problem}")
            if now >= next_pings:
                self._ping_all()
                next_pings = now + 1.0
            self.internet.run(STEP)
        self.settled[what].append(self.internet.clock.elapsed - began)

    def _ping_all(self) -> None:
        for one, other in permutations(self.peers, 2):
            if one.inner is None or other.inner is None or one.host.asleep:
                continue
            pair = one.host.name, other.host.name

            def heard(rtt: float, pair: tuple[str, str] = pair) -> None:
                self._heard[pair] = self.internet.clock.elapsed - rtt

            one.inner.ping(other.inner.address, size=200).addCallbacks(heard, lambda _: None)

    def _problem(self, began: float) -> str | None:
        """What does not hold yet, if anything."""
        for one, other in combinations(self.peers, 2):
            expected = may_be_direct(self._place_of(one), self._place_of(other))
            for here, there in ((one, other), (other, one)):
                pair = here.host.name, there.host.name
                kind = here.path_to(there.host.name)
                if kind is None or (kind == "udp") != expected:
                    wanted = "a direct path" if expected else "the relay"
                    return f"{pair[0]} reaches {pair[1]} by {kind}, and not by {wanted}"
                if self._heard.get(pair, -1.0) < began:
                    return f"{pair[0]} has no answer from {pair[1]} ({kind})"
        if self._stream.received < len(self._stream.sent) - 20_000:
            return f"{len(self._stream.sent) - self._stream.received} bytes of the stream are due"
        return None

    def _finish(self) -> None:
        """Stop the stream, wait for its last bytes, and look for what was left behind."""
        self._tell("the end")
        stream, due = self._stream, len(self._stream.sent)
        self.internet.run_until(lambda: stream.wrong or stream.received >= due, SETTLE)
        for peer in self.peers:
            self._check_bounds(peer)
        for peer in self.peers:
            assert peer.service is not None
            peer.service.stopService()
        self.internet.run(15.0)
        for peer in self.peers:
            calls = peer.host.getDelayedCalls()
            if calls:
                raise ViolationError(f"{peer.host.name} has stopped, but {calls[0]} is due")
        gc.collect()
        if self._errors or stream.wrong:
            raise ViolationError("\n".join([*self._errors, stream.wrong]))

    def _check_bounds(self, peer: SimulatedPeer) -> None:
        node = peer.node
        assert node is not None
        others = len(self.peers) - 1
        sizes = {
            "remote peers": (len(node.mesh.remotes), others),
            "ways": (max(len(r.ladder.ways) for r in node.mesh.remotes.values()), MAX_WAYS),
            "sessions": (len(node.link._routes), 3),
            "delayed calls": (len(peer.host.getDelayedCalls()), MAX_CALLS),
            "UDP ports": (len(peer.host.datagram_ports._bound), 2),
            "connections": (len(peer.host.sockets._connections), MAX_CONNECTIONS),
        }
        for what, (size, bound) in sizes.items():
            if size > bound:
                raise ViolationError(f"{peer.host.name} has {size} {what}, more than {bound}")


def attempt(seed: int) -> tuple[str | None, dict[str, list[float]]]:
    """Run one scenario.

    :returns: its failure, with the story and the last packets, and the settling times.
    """
    with TemporaryDirectory() as folder:
        scenario = Scenario(seed, Path(folder))
        try:
            scenario.run()
        except Exception as error:
            story = "\n".join(scenario.story)
            return (
                f"seed {seed}: {type(error).__name__}: {error}\n{story}\n{scenario.trace.tail(30)}",
                scenario.settled,
            )
    return None, scenario.settled


def main(arguments: Sequence[str] | None = None) -> int:
    """Run scenarios; the exit status is 1 if one failed."""
    parser = ArgumentParser(prog="bench.scenarios", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, metavar="N", help="how many [100]")
    parser.add_argument("--first", type=int, default=1, metavar="SEED", help="the first one [1]")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(arguments)
    settled: defaultdict[str, list[float]] = defaultdict(list)
    failures = []
    began = time.monotonic()
    for seed in range(args.first, args.first + args.seeds):
        failure, times = attempt(seed)
        for what, seconds in times.items():
            settled[what] += seconds
        if failure is not None:
            failures.append(seed)
            print(failure, end="\n\n", file=sys.stderr, flush=True)
    per_minute = args.seeds / (time.monotonic() - began) * 60
    summary = {
        what: {"times": len(s), "median_s": s[len(s) // 2], "worst_s": s[-1]}
        for what, s in sorted((what, sorted(s)) for what, s in settled.items())
    }
    if args.json:
        print(json.dumps({"per_minute": per_minute, "failed": failures, "settled": summary}))
    else:
        for what, each in summary.items():
            print(f"{what:18}" + "  ".join(f"{name} {value:g}" for name, value in each.items()))
        print(f"{args.seeds} scenarios, {per_minute:.0f} a minute; failed: {failures or 'none'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
