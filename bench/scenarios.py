"""Random worlds on the simulated internet, random things that happen to them, and what must hold.

Two to five machines behind random gateways, on random lines, run the real peers and the real
coordinator. One TCP stream inside the mesh never stops, all pairs ping each other. After each
change, within :data:`SETTLE` simulated seconds, every pair whose gateways allow it is on a direct
path at both ends, every other pair is relayed, all reach each other, and the stream has brought
every byte. Nothing may be left behind that grows.
"""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import gc
import json
import sys
import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations, permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.python.monkey import MonkeyPatcher

from bench.random_world import World, may_be_direct
from tunnelmesh.lab.sim.mesh import SimulatedPeer
from tunnelmesh.nat.birthday import MOST_SOCKETS
from tunnelmesh.paths.ladder import MAX_WAYS

SETTLE = 60.0
"""Simulated seconds after a change within which everything must hold: a pair whose gateways did not
allow a direct path, and are replaced without a sign, is looked at every thirty."""

STEP = 0.25
"""Simulated seconds between looks at whether everything holds."""

CHANGES = 6
"""Things that happen in one scenario."""

MAX_CALLS = 60
"""Delayed calls of one machine at rest: a few for each other machine, and some for its links."""

MAX_UDP_PORTS = 11
"""UDP sockets of one machine besides those of guessed ports: one for each family, and those that
look at the NAT."""

MAX_CONNECTIONS = 32
"""TCP connections of one machine: its links, two to STUN servers, and one or two to each other
machine where UDP is blocked; and all that said goodbye in the last four minutes (TIME-WAIT)."""


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


class Scenario(World):
    """One random world, and what must hold in it.

    :ivar settled: simulated seconds until everything held again, by what had happened.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed, folder)
        self.settled: defaultdict[str, list[float]] = defaultdict(list)
        self._errors: list[str] = []
        self._stream = _Check()
        self._heard: dict[tuple[str, str], float] = {}

    def run(self) -> None:
        """Build the world, let things happen, and check.

        :raises ViolationError: if something does not hold.
        """
        patches = MonkeyPatcher(*self.internet.patches())
        patches.patch()
        globalLogPublisher.addObserver(self._logged)  # type: ignore[arg-type]
        try:
            self.build()
            self._settle("start")
            self._open_stream()
            for _ in range(CHANGES):
                what = self.change()
                self.internet.run(self.random.uniform(0.0, 5.0))
                self._settle(what)
            self._finish()
        finally:
            globalLogPublisher.removeObserver(self._logged)  # type: ignore[arg-type]
            patches.restore()

    def _logged(self, event: dict[str, Any]) -> None:
        if event["log_level"] is LogLevel.critical:
            failure = event.get("log_failure")
            text = formatEvent(event)
            self._errors.append(f"{text}\n{failure.getTraceback()}" if failure else text)

    # What must hold.

    def _open_stream(self) -> None:
        here, there = self.random.sample(self.peers, 2)
        assert here.inner is not None
        assert there.inner is not None
        there.inner.listenTCP(7, Factory.forProtocol(_Echo))
        connectProtocol(TCP4ClientEndpoint(here.inner, there.inner.address, 7), self._stream)
        self.tell(f"stream from {here.host.name} to {there.host.name}")
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
            expected = may_be_direct(self.place_of(one), self.place_of(other))
            for here, there in ((one, other), (other, one)):
                pair = here.host.name, there.host.name
                kind = here.path_to(there.host.name)
                if kind is None or (expected is not None and (kind == "udp") != expected):
                    wanted = "a direct path" if expected else "the relay"
                    return f"{pair[0]} reaches {pair[1]} by {kind}, and not by {wanted}"
                back = there.path_to(here.host.name)
                if (kind == "udp") != (back == "udp"):
                    return f"{pair[0]} reaches {pair[1]} by {kind}, which answers by {back}"
                if self._heard.get(pair, -1.0) < began:
                    return f"{pair[0]} has no answer from {pair[1]} ({kind})"
        if self._stream.received < len(self._stream.sent) - 20_000:
            return f"{len(self._stream.sent) - self._stream.received} bytes of the stream are due"
        return None

    def _finish(self) -> None:
        """Stop the stream, wait for its last bytes, and look for what was left behind."""
        self.tell("the end")
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
        guessing = others * MAX_WAYS + (MOST_SOCKETS if node.hard.running else 0)
        sizes = {
            "remote peers": (len(node.mesh.members.remotes), others),
            "ways": (max(len(r.ladder.ways) for r in node.mesh.members.remotes.values()), MAX_WAYS),
            "sessions": (len(node.link._routes), 3),
            "delayed calls": (len(peer.host.getDelayedCalls()), MAX_CALLS),
            "UDP ports": (len(peer.host.datagram_ports._bound), MAX_UDP_PORTS + guessing),
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
            what = f"seed {seed}: {type(error).__name__}: {error}"
            told = [what, *scenario.story, scenario.internet.trace.tail(30)]
            return "\n".join(told), scenario.settled
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
