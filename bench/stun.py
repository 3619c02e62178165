"""How many STUN requests one server process answers, beside coturn in the same run.

``python -m bench.stun [--seconds N] [--json]``

The client is a second process on the loopback interface that keeps a window of requests under way.
Rates per CPU second are what to compare: they do not depend on how fast the client is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tunnelmesh.wire.stun import Class, Message, encode

WINDOW = 64
"""Requests under way at once: few enough that no socket buffer overflows."""

START = 10.0
"""Seconds that a server has to answer for the first time."""


def serve(port: int) -> None:
    """Be our server, its limits counted but out of reach: one client stands for many networks."""
    from twisted.internet import reactor

    from tunnelmesh.coordinator import stun

    stun.SOURCE_BURST = stun.TOTAL_BURST = 1 << 60
    stun.StunServer(reactor, "127.0.0.1", port).startService()
    reactor.run()


@contextmanager
def running(argv: list[str], folder: str) -> Iterator[int]:
    """Run a server while the block runs: its process id."""
    program = subprocess.Popen(
        argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield program.pid
    finally:
        program.terminate()
        program.wait()


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait(client: socket.socket, request: bytes) -> None:
    """Wait until the server answers."""
    client.settimeout(0.1)
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        try:
            client.send(request)
            client.recv(2048)
            return
        except OSError:  # refused until it listens
            time.sleep(0.05)
    raise SystemExit("the server does not answer")


def measure(port: int, pid: int, seconds: float) -> dict[str, float]:
    """Ask as fast as answers come."""
    request = encode(Message(Class.REQUEST, bytes(12)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        wait(client, request)
        used, start, answers, lost = cpu(pid), time.monotonic(), 0, 0
        end = start + seconds
        missing = WINDOW
        while time.monotonic() < end:
            for _ in range(missing):
                client.send(request)
            missing = 1
            try:
                client.recv(2048)
                answers += 1
            except TimeoutError:
                lost += WINDOW
                missing = WINDOW
        elapsed, used = time.monotonic() - start, cpu(pid) - used
    return {
        "answers_per_s": round(answers / elapsed),
        "answers_per_cpu_s": round(answers / used) if used else 0,
        "lost": lost,
    }


def free_port() -> int:
    """A UDP port that nothing uses at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def coturn(port: int) -> list[str]:
    """The command of a coturn that serves only STUN and leaves no files."""
    options = ["--stun-only", "--no-auth", "--no-cli", "--no-tcp", "--no-tls", "--no-dtls"]
    files = ["--pidfile=pid", "--userdb=db", "--log-file=log", "--simple-log"]
    where = ["--listening-ip=127.0.0.1", f"--listening-port={port}"]
    return ["turnserver", "-n", *options, *files, *where]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.stun", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each server (default 3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    results = {}
    port = free_port()
    with running([sys.executable, "-m", "bench.stun", f"--serve={port}"], ".") as pid:
        results["tunnelmesh"] = measure(port, pid, options.seconds)
    if shutil.which("turnserver"):
        port = free_port()
        with tempfile.TemporaryDirectory() as folder, running(coturn(port), folder) as pid:
            results["coturn"] = measure(port, pid, options.seconds)
    if options.json:
        print(json.dumps(results))
        return
    for name, result in results.items():
        print(
            f"{name:12} {result['answers_per_s']:>9,} answers/s "
            f"{result['answers_per_cpu_s']:>9,} per CPU second  {result['lost']} lost"
        )
    if "coturn" in results:
        ratio = results["tunnelmesh"]["answers_per_cpu_s"] / results["coturn"]["answers_per_cpu_s"]
        print(f"per CPU second, {ratio:.2f} of coturn's")


if __name__ == "__main__":
    main()
