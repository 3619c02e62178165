"""Throughput of the SSH tunnel over loopback, beside raw TCP in the same run.

Measures, in processes of their own: raw TCP; frames from a peer to the coordinator; frames relayed
from a peer through the coordinator to another. The last comes with the coordinator's CPU time, as
three processes may share fewer than three cores.
"""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import TCP4ClientEndpoint

from tunnelmesh.transports.ssh.client import connect
from tunnelmesh.transports.ssh.server import make_ssh_factory
from tunnelmesh.wire.frame import RELAY, SIGNAL, encode

reactor: Any = _reactor
KEYS = {
    role: Ed25519PrivateKey.from_private_bytes(role.encode().ljust(32, b"."))
    for role in ("coordinator", "sender", "receiver")
}
PUBLIC = {key.public_key().public_bytes_raw(): role for role, key in KEYS.items()}
STOP = encode(SIGNAL, b"stop")


def cpu() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Counter:
    """Counts what arrives; prints it when told that it was all."""

    def __init__(self) -> None:
        self.bytes = 0
        self.started = 0.0
        self.cpu = 0.0

    def link_opened(self, link: Any) -> None:
        print("ready", flush=True)

    def frames_received(self, link: Any, frames: Sequence[tuple[int, bytes]]) -> None:
        if not self.started:
            self.started, self.cpu = time.monotonic(), cpu()
        for kind, body in frames:
            self.bytes += len(body)
            if kind == SIGNAL:
                self.report()

    def report(self) -> None:
        print(
            json.dumps(
                {
                    "mbit_s": 8e-6 * self.bytes / (time.monotonic() - self.started),
                    "cpu_s_per_gb": (cpu() - self.cpu) / (self.bytes / 1e9),
                }
            ),
            flush=True,
        )

    def link_paused(self, link: Any) -> None:
        pass

    link_resumed = link_paused

    def link_lost(self, link: Any, reason: str) -> None:
        if reactor.running:
            reactor.stop()


class Forwarder(Counter):
    """The coordinator's part of the relay: each link's frames go to the other."""

    links: dict[str, Any] = {}

    def link_opened(self, link: Any) -> None:
        self.links[PUBLIC[link.key]] = link

    def frames_received(self, link: Any, frames: Sequence[tuple[int, bytes]]) -> None:
        receiver = self.links["receiver"]
        for kind, body in frames:
            frame = encode(kind, body)
            if kind == SIGNAL or not receiver.send_bulk(frame):
                receiver.send(frame)
        super().frames_received(link, frames)

    def link_paused(self, link: Any) -> None:
        self.links["sender"].pauseProducing()

    def link_resumed(self, link: Any) -> None:
        self.links["sender"].resumeProducing()


class Sender(Counter):
    """Sends for so many seconds, as fast as the link takes it."""

    def __init__(self, options: Namespace) -> None:
        super().__init__()
        self.frame = encode(RELAY, b"x" * options.size)
        self.end = time.monotonic() + options.seconds

    def link_opened(self, link: Any) -> None:
        self.link_resumed(link)

    def link_resumed(self, link: Any) -> None:
        while time.monotonic() < self.end:
            if not link.send_bulk(self.frame):
                return
        link.send(STOP)
        reactor.callLater(1, link.close, "done")


def child(options: Namespace) -> None:
    """One of the processes."""
    if options.role in ("sender", "receiver"):
        user = Sender(options) if options.role == "sender" else Counter()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", options.port)
        pin = KEYS["coordinator"].public_key().public_bytes_raw()
        connect(reactor, endpoint, KEYS[options.role], pin, user)
    else:
        kind = Forwarder if options.role == "relay" else Counter
        factory = make_ssh_factory(reactor, KEYS["coordinator"], PUBLIC.__contains__, kind)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        print(port.getHost().port, flush=True)
    reactor.run()


def start(role: str, options: Namespace, port: int = 0) -> subprocess.Popen[str]:
    """Start one of the processes."""
    command = [sys.executable, "-m", "bench.ssh_link", f"--role={role}", f"--port={port}"]
    command += [f"--seconds={options.seconds}", f"--size={options.size}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline()


def link(options: Namespace) -> dict[str, float]:
    """A peer to the coordinator."""
    server = start("server", options)
    sender = start("sender", options, int(line(server)))
    line(server)
    result: dict[str, float] = json.loads(line(server))
    for process in (sender, server):
        process.wait()
    return result


def relayed(options: Namespace) -> dict[str, float]:
    """A peer to another, through the coordinator: its CPU time and the receiver's rate."""
    relay = start("relay", options)
    port = int(line(relay))
    receiver = start("receiver", options, port)
    line(receiver)
    sender = start("sender", options, port)
    at_relay = json.loads(line(relay))
    at_receiver = json.loads(line(receiver))
    for process in (sender, relay, receiver):
        process.wait()
    return {**at_receiver, "relay_cpu_s_per_gb": at_relay["cpu_s_per_gb"]}


def raw(options: Namespace) -> dict[str, float]:
    """Plain TCP, written in pieces of the same size, by a child that blocks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = start("raw", options, listener.getsockname()[1])
        connection, _ = listener.accept()
        buffer = bytearray(1 << 18)
        received, started = 0, time.monotonic()
        while count := connection.recv_into(buffer):
            received += count
        elapsed = time.monotonic() - started
        connection.close()
        sender.wait()
    return {"mbit_s": 8e-6 * received / elapsed}


def raw_child(options: Namespace) -> None:
    """The sending end of :func:`raw`."""
    piece, end = b"x" * options.size, time.monotonic() + options.seconds
    with socket.create_connection(("127.0.0.1", options.port)) as connection:
        while time.monotonic() < end:
            connection.sendall(piece)


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    parser.add_argument("--size", type=int, default=32768, help="bytes in a frame")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--role", help="for the processes that this one starts")
    parser.add_argument("--port", type=int, default=0, help="likewise")
    options = parser.parse_args()
    if options.role == "raw":
        raw_child(options)
    elif options.role:
        child(options)
    else:
        results = {"raw": raw(options), "link": link(options), "relayed": relayed(options)}
        for kind in ("link", "relayed"):
            results[kind]["of_raw"] = results[kind]["mbit_s"] / results["raw"]["mbit_s"]
        relay_cpu = results["relayed"]["relay_cpu_s_per_gb"]
        results["relayed"]["mbit_s_on_one_whole_core"] = 8e3 / relay_cpu
        if options.json:
            print(json.dumps(results))
        else:
            for kind, figures in results.items():
                shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
                print(f"{kind:8} {shown}")


if __name__ == "__main__":
    main()
