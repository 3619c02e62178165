"""What streams between two peers without network devices do, in the kernel laboratory.

::

    python -m bench.streams                   throughput, first byte, fairness
    python -m bench.streams --copy 1G         a copy while the path is switched under it

Run as root. Each peer is pinned to one core (``--cores``); the program that takes the bytes, and
this one, run where the system puts them. Throughput is what came out at the other end per second,
and per second of the busier peer's CPU, which does not depend on what else runs on the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.wire import Echo
from twisted.python.monkey import MonkeyPatcher

from tunnelmesh.cli.stream import open_stream
from tunnelmesh.errors import StreamError
from tunnelmesh.lab.kernel import Host, Site, World
from tunnelmesh.lab.kernel.mesh import Mesh, Peer, wait_until
from tunnelmesh.lab.sim import Internet
from tunnelmesh.lab.sim.mesh import SimulatedCoordinator, SimulatedPeer

PORT = 9
CHUNK = 1 << 18

SERVICE = """
import hashlib, socket, sys, threading
def serve(connection):
    wanted = connection.recv(1)
    if wanted == b"D":
        digest = hashlib.sha256()
        while data := connection.recv(1 << 18):
            digest.update(data)
        connection.sendall(digest.digest())
    while wanted == b"S":
        connection.sendall(bytes(1 << 16))
    if wanted == b"E":
        connection.sendall(wanted)
    connection.close()
def quietly(connection):
    try:
        serve(connection)
    except OSError:
        pass
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=512)
print("ready", flush=True)
while True:
    threading.Thread(target=quietly, args=(listener.accept()[0],), daemon=True).start()
"""
"""Takes bytes and says their hash, or sends without end, or answers one byte."""


def serve(host: Host, address: str = "127.0.0.1") -> None:
    """Run the service on a host, until the world ends."""
    argv = [sys.executable, "-ISc", SERVICE, address, str(PORT)]
    program = host.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert program.stdout is not None
    program.stdout.readline()


class Laboratory:
    """Two peers without devices behind two gateways; the second exposes the service.

    :ivar here: opens streams; *there*: answers them.
    """

    def __init__(self, world: World, cores: list[int], options: list[str]) -> None:
        self.mesh = Mesh(world)
        self.mesh.coordinator.start()
        join = f"--join={self.mesh.coordinator.invite(uses=2)}"
        self.sites = [world.add_site(name, "port-restricted") for name in ("home", "office")]
        hosts = [
            site.add_host(name) for site, name in zip(self.sites, ("here", "there"), strict=True)
        ]
        serve(hosts[1])
        self.here, self.there = (
            self.mesh.add_peer(host, join, "--mode=userspace", f"--expose={PORT}", *options)
            for host in hosts
        )
        for peer, core in zip((self.here, self.there), cores, strict=False):
            os.sched_setaffinity(pid(peer), {core})
        wanted = "udp" if "--relay-only" not in options else None
        for one, other in ((self.here, "there"), (self.there, "here")):
            wait_until(
                lambda one=one, other=other: (
                    one.path_to(other) and (wanted is None or one.path_to(other) == wanted)
                ),
                "a path",
                60,
            )

    def open(self, wanted: bytes) -> socket.socket:
        """Open a stream to the service, and say what is wanted of it."""
        stream, rest = open_stream(self.here.state_dir, "there", PORT, wanted)
        assert not rest or wanted != b"D"
        return stream


def pid(peer: Peer) -> int:
    """The process of a peer."""
    assert peer.process is not None
    return peer.process.pid


def cpu_seconds(peer: Peer) -> float:
    """What a peer has used so far."""
    fields = Path(f"/proc/{pid(peer)}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(peer: Peer) -> float:
    """Megabytes that a peer occupies."""
    fields = Path(f"/proc/{pid(peer)}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def copy(laboratory: Laboratory, size: int) -> dict[str, Any]:
    """Send so many bytes, and compare their hash at the other end."""
    peers = (laboratory.here, laboratory.there)
    before = [cpu_seconds(peer) for peer in peers]
    block = os.urandom(CHUNK)
    digest = hashlib.sha256()
    started = time.monotonic()
    with laboratory.open(b"D") as stream:
        for at in range(0, size, CHUNK):
            part = block[: size - at]
            digest.update(part)
            stream.sendall(part)
        stream.shutdown(socket.SHUT_WR)
        answer = b""
        while len(answer) < 32 and (more := stream.recv(32)):
            answer += more
    seconds = time.monotonic() - started
    used = [cpu_seconds(peer) - was for peer, was in zip(peers, before, strict=True)]
    return {
        "bytes": size,
        "seconds": round(seconds, 2),
        "mbit_s": round(size * 8 / seconds / 1e6, 1),
        "mbit_per_cpu_s": {
            peer.name: round(size * 8 / cpu / 1e6, 1)
            for peer, cpu in zip(peers, used, strict=True)
            if cpu
        },
        "megabytes": {peer.name: round(memory(peer), 1) for peer in peers},
        "whole": answer == digest.digest(),
    }


def first_byte() -> dict[str, Any]:
    """How long a byte takes that is asked for and comes back, from the moment of asking.

    Between two gateways of the simulated internet, where nothing but the lines takes time. The
    first stream also makes the association.
    """
    measured = {}
    with TemporaryDirectory() as folder:
        internet = Internet(seed=1)
        MonkeyPatcher(*internet.patches()).patch()
        coordinator = SimulatedCoordinator(internet, Path(folder) / "coordinator")
        coordinator.start()
        token = coordinator.invite()
        here, there = (
            SimulatedPeer(
                internet,
                internet.nat(f"198.51.100.{number}", kind="port-restricted").host(name=name),
                Path(folder) / name,
                token,
                mode="userspace",
                expose=((PORT, "127.0.0.1", PORT),),
            )
            for number, name in enumerate(("here", "there"), start=1)
        )
        for peer in (here, there):
            peer.start()
        internet.run_until(
            lambda: here.path_to("there") == "udp" == there.path_to("here"), limit=20
        )
        internet.run(10)
        there.host.listenTCP(PORT, Factory.forProtocol(Echo))
        trip = here.status()["peers"][0]["path"]["rtt_ms"] / 1000
        for name in ("first", "second"):
            began = internet.clock.seconds()
            assert here.node is not None
            asker = Asker()
            here.node.streams.endpoint("there", PORT, b"E").connect(
                Factory.forProtocol(lambda asker=asker: asker)  # type: ignore[misc]
            )
            internet.run_until(lambda asker=asker: asker.answered, limit=5)
            measured[name] = round((internet.clock.seconds() - began) / trip, 2)
            internet.run(1)
    return {"round_trip_s": round(trip, 4), "round_trips": measured}


class Asker(Protocol):
    """Waits for a byte."""

    answered = False

    def dataReceived(self, data: bytes) -> None:
        """It has come."""
        self.answered = True


def fairness(laboratory: Laboratory, streams: int, seconds: float) -> dict[str, Any]:
    """How evenly so many streams at once share what there is."""
    with selectors.DefaultSelector() as waiting:
        received: dict[int, int] = {}
        opened: list[socket.socket] = []

        def one_more() -> None:
            with suppress(StreamError):
                opened.append(laboratory.open(b"S"))

        openers = [Thread(target=one_more) for _ in range(streams)]
        for opener in openers:
            opener.start()
        for opener in openers:
            opener.join()
        for stream in opened:
            stream.setblocking(False)
            waiting.register(stream, selectors.EVENT_READ)
        began = time.monotonic()
        settled = False
        while time.monotonic() - began < seconds:
            if not settled and time.monotonic() - began > seconds / 4:
                settled = True  # the first ones have had a head start
                received = dict.fromkeys((stream.fileno() for stream in opened), 0)
            for key, _ in waiting.select(0.1):
                data = key.fileobj.recv(CHUNK)  # type: ignore[union-attr]
                if settled:
                    received[key.fd] += len(data)
        for stream in opened:
            stream.close()
    shares = sorted(received.values())
    squares = sum(share * share for share in shares)
    return {
        "streams": len(shares),
        "mbit_s": round(sum(shares) * 8 / (seconds * 0.75) / 1e6, 1),
        "jain": round(sum(shares) ** 2 / (len(shares) * squares), 4) if squares else 0.0,
        "least_of_mean": round(shares[0] * len(shares) / max(1, sum(shares)), 3),
        "most_of_mean": round(shares[-1] * len(shares) / max(1, sum(shares)), 3),
    }


def switching(site: Site, every: float) -> Iterator[str]:
    """Block UDP at a gateway, and let it pass again, in turn."""
    while True:
        time.sleep(every)
        site.block(udp=True)
        yield "blocked"
        time.sleep(every)
        site.unblock()
        yield "let pass"


def switched_copy(laboratory: Laboratory, size: int, every: float) -> dict[str, Any]:
    """Copy while the direct path comes and goes."""
    changes: list[str] = []
    ended = False

    def change() -> None:
        for word in switching(laboratory.sites[0], every):
            changes.append(word)
            if ended:
                return

    changer = Thread(target=change, daemon=True)
    changer.start()
    done = copy(laboratory, size)
    ended = True
    history = laboratory.here.ask("history", peer="there")
    return done | {"changes": len(changes), "switches": len(history)}


def _size(text: str) -> int:
    number, unit = (text[:-1], text[-1]) if text[-1:] in "KMG" else (text, "")
    return int(number) * {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}[unit]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bytes", type=_size, default="100M", help="for the throughput [100M]")
    parser.add_argument("--copy", type=_size, metavar="BYTES", help="while the path is switched")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between changes [3]")
    parser.add_argument("--streams", type=int, default=200, help="at once, for fairness [200]")
    parser.add_argument("--seconds", type=float, default=12.0, help="of fairness [12]")
    parser.add_argument("--cores", default="0,1", help="of the two peers [0,1]")
    parser.add_argument("--relayed", action="store_true", help="by the coordinator")
    parser.add_argument("--only", choices=("throughput", "first", "fairness"), help="just that")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    cores = [int(core) for core in args.cores.split(",")]
    options = ["--relay-only"] if args.relayed else []
    results: dict[str, Any] = {}
    wanted = {args.only} if args.only else {"throughput", "first", "fairness"}
    if args.copy:
        wanted = {"copy"}
    if wanted != {"first"}:
        with World("streams") as world:
            laboratory = Laboratory(world, cores, options)
            if "copy" in wanted:
                results["switched copy"] = switched_copy(laboratory, args.copy, args.every)
            if "throughput" in wanted:
                results["throughput"] = copy(laboratory, args.bytes)
            if "fairness" in wanted:
                results["fairness"] = fairness(laboratory, args.streams, args.seconds)
    if "first" in wanted:
        results["first byte"] = first_byte()
    if args.json:
        print(json.dumps(results))
        return
    for name, result in results.items():
        print(name)
        for key, value in result.items():
            print(f"  {key:16} {value}")


if __name__ == "__main__":
    main()
