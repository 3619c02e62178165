"""What one core relays: a real coordinator, pinned to one, between a sender and a receiver.

``python -m bench.relay [--seconds N] [--json FILE]``

The peers are real links over loopback that carry 1,400-byte datagrams in batches, as a peer's
traffic is. Sender and receiver share the machine's other cores; where these are too few to keep the
coordinator busy, its CPU time tells what one whole core would carry. Then the receiver is stopped
(SIGSTOP) while a sender that heeds no request to hold goes on: the coordinator's memory must stay.
"""

# Twisted is partly without annotations.
# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

import argparse
import json
import os
import signal as signals
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bench.stun import cpu
from tunnelmesh.cli.ask import ask
from tunnelmesh.coordinator.sqlite import FILE_NAME as DATABASE
from tunnelmesh.coordinator.sqlite import SQLiteStore
from tunnelmesh.identity import Identity
from tunnelmesh.peer.link.egress import Egress, Route, Whereabouts
from tunnelmesh.peer.link.session import Session
from tunnelmesh.transports.relay import RelayTransport
from tunnelmesh.wire.signal import Hold, Release, Signal

reactor: Any = _reactor

HOST = "127.0.0.1"
HTTPS_PORT, SSH_PORT, STUN_PORT = 18443, 12222, 13478

BATCH = [bytes(1400)] * 32
"""What one read of a tunnel device becomes: a super-packet of 44 kB."""

WARM_UP = 1.0
"""Seconds before anything is measured."""

WAYS = (("ssh", "ssh"), ("websocket", "websocket"), ("ssh", "websocket"))
"""How sender and receiver are linked."""

TARGETS = {("ssh", "ssh"): 400.0, ("websocket", "websocket"): 300.0}
"""Mbit/s that DESIGN asks for."""

PEERS = ("sender", "receiver")


class Peer:
    """One end of a relayed path.

    :param to: the mesh address that it sends to, if it does.
    :param deaf: whether it goes on when it is asked to hold.
    """

    def __init__(self, to: IPv4Address | None, deaf: bool) -> None:
        self.relay = RelayTransport()
        self.to = to
        self._deaf = deaf
        self._held = False

    async def run(self, folder: Path, name: str, kind: str) -> None:
        """Open the link, and send if that is what it is for."""
        identity = Identity.load_or_create(folder / name)
        pin = Identity.load_or_create(folder / "coordinator").public_key
        where = Whereabouts(HOST, HTTPS_PORT, SSH_PORT, pin, False)
        tokens = count()
        session = Session(reactor, identity, pin, "bench", lambda: next(tokens), self)
        await Egress(reactor, where, "none", {}).open(Route(kind, None), identity, session)
        await session.until_welcome()
        self.relay.use(session.link)
        print("ready", flush=True)
        self.pump()

    def pump(self) -> None:
        """Send until the link is full."""
        if self.to is None or self.relay.link is None:
            return
        path = self.relay.path_to(self.to)
        while not (self.relay.link.paused or self._held):
            path.write(BATCH)

    def session_paused(self, session: Session, paused: bool) -> None:
        """The link is full, or has room."""
        if not paused:
            self.relay.resume()
            self.pump()

    def signal_received(self, session: Session, message: Signal) -> None:
        """The coordinator asks to hold, or to go on."""
        if isinstance(message, Hold | Release) and not self._deaf:
            self._held = isinstance(message, Hold)
            self.pump()

    def relay_received(self, session: Session, address: bytes, datagrams: Sequence[bytes]) -> None:
        """What arrives is counted by the coordinator."""

    def session_doubtful(self, session: Session) -> None:
        """So be it."""

    def session_lost(self, session: Session, reason: str) -> None:
        """It is over."""
        if reactor.running:
            reactor.stop()


def be_peer(options: argparse.Namespace) -> None:
    """Run one of the peers."""
    to = IPv4Address(options.to) if options.to else None
    running = Peer(to, options.deaf).run(options.folder, options.peer, options.kind)
    Deferred.fromCoroutine(running).addErrback(_failed)
    reactor.run()


def _failed(failure: Failure) -> None:
    failure.printTraceback()
    reactor.stop()


def prepare(folder: Path) -> dict[str, IPv4Address]:
    """Make a coordinator's state in which both peers are members: their mesh addresses."""
    for name in ("coordinator", *PEERS):
        (folder / name).mkdir()
    Identity.load_or_create(folder / "coordinator")
    store = SQLiteStore(folder / "coordinator" / DATABASE)
    members: dict[str, IPv4Address] = {}

    async def enrol() -> None:
        now, secret = int(time.time()), bytes(16)
        await store.invite(secret, len(PEERS), now + 60, now)
        for name in PEERS:
            key = Identity.load_or_create(folder / name).public_key
            members[name] = (await store.enrol(secret, name, key, now)).address

    Deferred.fromCoroutine(enrol())
    store.close()
    return members


class Coordinator:
    """The coordinator's process, seen from outside."""

    def __init__(self, folder: Path, pid: int) -> None:
        self.pid = pid
        self._state_dir = folder / "coordinator"

    @property
    def relayed(self) -> int:
        """Bytes so far."""
        carried: int = ask(self._state_dir, "status")["relay"]["bytes"]
        return carried

    @property
    def memory(self) -> float:
        """Resident megabytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def measure(self, seconds: float) -> dict[str, float]:
        """Throughput and CPU time over the next seconds."""
        carried, used, begun = self.relayed, cpu(self.pid), time.monotonic()
        time.sleep(seconds)
        carried, used = self.relayed - carried, cpu(self.pid) - used
        elapsed = time.monotonic() - begun
        per_gigabyte = used / (carried / 1e9)
        return {
            "mbit_s": 8e-6 * carried / elapsed,
            "coordinator_cpu": used / elapsed,
            "cpu_s_per_gb": per_gigabyte,
            "mbit_s_on_a_whole_core": 8e3 / per_gigabyte,
        }


@contextmanager
def program(argv: Sequence[str], cores: set[int], **how: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a program on these cores while the block runs."""
    running = subprocess.Popen(argv, preexec_fn=lambda: os.sched_setaffinity(0, cores), **how)
    try:
        yield running
    finally:
        running.send_signal(signals.SIGCONT)
        running.terminate()
        running.wait()


@contextmanager
def coordinator(folder: Path, core: int) -> Iterator[Coordinator]:
    """Run a coordinator on one core."""
    run = "from twisted.scripts.twistd import run; run()"
    argv = [sys.executable, "-c", run, "--nodaemon", "--pidfile=", "tunnelmesh"]
    argv += ["--role=coordinator", f"--state-dir={folder / 'coordinator'}", f"--public-host={HOST}"]
    argv += [f"--https-port={HTTPS_PORT}", f"--ssh-port={SSH_PORT}", f"--stun-port={STUN_PORT}"]
    with program(argv, {core}, stdout=subprocess.DEVNULL) as running:
        yield Coordinator(folder, running.pid)


@contextmanager
def peer(folder: Path, name: str, kind: str, cores: set[int], *more: str) -> Iterator[Any]:
    """Run a peer, from when it is linked."""
    argv = [sys.executable, "-m", "bench.relay", "--folder", str(folder)]
    argv += ["--peer", name, "--kind", kind, *more]
    with program(argv, cores, stdout=subprocess.PIPE, text=True) as running:
        if running.stdout is None or running.stdout.readline() != "ready\n":
            raise SystemExit(f"the {name} finds no {kind} link")
        yield running


def relay(sender: str, receiver: str, seconds: float) -> dict[str, float]:
    """Measure one way."""
    core, *others = sorted(os.sched_getaffinity(0))
    cores = set(others or [core])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        members = prepare(folder)
        to = f"--to={members['receiver']}"
        with coordinator(folder, core) as here:
            wait(folder)
            with peer(folder, "receiver", receiver, cores) as end:
                with peer(folder, "sender", sender, cores, to):
                    time.sleep(WARM_UP)
                    result = here.measure(seconds)
                with peer(folder, "sender", sender, cores, to, "--deaf"):
                    end.send_signal(signals.SIGSTOP)
                    time.sleep(WARM_UP)
                    before = here.memory
                    time.sleep(seconds)
                    result["stopped_receiver_mb"] = here.memory
                    result["stopped_receiver_growth_mb"] = here.memory - before
    return result


def wait(folder: Path) -> None:
    """Wait until the coordinator answers."""
    for _ in range(200):
        try:
            ask(folder / "coordinator", "status")
        except Exception:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the coordinator does not start")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.relay", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each (default 8)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values there")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--to", help=argparse.SUPPRESS)
    parser.add_argument("--deaf", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        be_peer(options)
        return
    results = {}
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs")
    for way in WAYS:
        result = results[" to ".join(way)] = relay(*way, options.seconds)
        target = f" (target {TARGETS[way]:.0f})" if way in TARGETS else ""
        print(
            f"{' to '.join(way):24} {result['mbit_s']:5.0f} Mbit/s with"
            f" {100 * result['coordinator_cpu']:.0f} % of a core, {result['cpu_s_per_gb']:.1f} CPU"
            f" s/GB: {result['mbit_s_on_a_whole_core']:.0f} Mbit/s on a whole core{target};"
            f" receiver stopped: {result['stopped_receiver_mb']:.0f} MB,"
            f" {result['stopped_receiver_growth_mb']:+.1f} MB in {options.seconds:g} s",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
