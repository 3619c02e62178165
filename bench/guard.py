"""What access rules cost a packet on its way to the kernel: nothing for who is not restricted.

``python -m bench.guard [--repeat N] [--json]``

Each row is the switch's last step, with a device that does nothing: for a super-packet of 60 KB,
and for a batch of 40 ordinary packets, without a guard and with one. Microseconds per step; the
median of many short runs is what to compare, the least what the code costs undisturbed.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from bench.bulk import SIZE, measure
from tests.bulk.packets import TIMESTAMPS, super_packet
from tunnelmesh.peer.pair.guard import Guard
from tunnelmesh.peer.switch import Switch
from tunnelmesh.policy.ports import Reach

BATCH = 40
"""Packets that come together: a full flight, as the socket hands it over."""

RULES = ["tcp/22", "tcp/80", "tcp/443", "udp/5000-5100", "icmp"]

V4 = IP(src="100.96.0.1", dst="100.96.0.2", flags="DF")
V6 = IPv6(src="fd00::1", dst="fd00::2")
FLOWS = {
    "TCP": TCP(dport=80, flags="A", options=TIMESTAMPS),
    "UDP": UDP(dport=5050),
}


class NullDevice:
    """Takes everything."""

    def write(self, packets: object) -> None:
        """Do nothing."""

    write_bulk = write


def steps() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Each step, without a guard and with one."""
    around: Any = SimpleNamespace(reactor=SimpleNamespace(seconds=lambda: 1000.0))
    members: Any = SimpleNamespace(by_address={}, by_hint={})
    switch = Switch(around, members, lambda datagrams, path: None, Counter())
    device: Any = NullDevice()
    switch.device = device
    found = {}
    for version, carrier in (("IPv4", V4), ("IPv6", V6)):
        for flow, header in FLOWS.items():
            headers: Packet = carrier / header
            large = super_packet(headers, bytes(SIZE), 1300)
            data = memoryview(large.buffer)[large.start : large.stop]
            small = [bytes(headers / Raw(bytes(1300)))] * BATCH
            raw = bytes(headers)
            open_to_all, restricted = (
                SimpleNamespace(
                    guard=guard, ends4=raw[12:20], ends6=raw[8:40], wanted=True, address=None
                )
                for guard in (None, Guard(Reach.of(RULES)))
            )
            for name, step, what in (
                ("super-packet", switch._deliver_bulk, [data]),
                (f"{BATCH} packets", switch._deliver, small),
            ):
                found[f"{name}, {flow} over {version}"] = (
                    lambda step=step, what=what, remote=open_to_all: step(remote, what),
                    lambda step=step, what=what, remote=restricted: step(remote, what),
                )
    for without, guarded in found.values():
        without()
        guarded()
    if switch.dropped:
        raise AssertionError(f"what is measured is to pass: {switch.dropped}")
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=300, help="runs of each step")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    results = {
        name: {
            "open": measure(without, options.repeat),
            "guarded": measure(guarded, options.repeat),
        }
        for name, (without, guarded) in steps().items()
    }
    if options.json:
        print(json.dumps(results))
        return
    print(f"{'microseconds: median (least)':<32} {'open':>16} {'guarded':>16}")
    for name, row in results.items():
        cells = (f"{row[key]['median']:.2f} ({row[key]['least']:.2f})" for key in row)
        print(f"{name:<32} " + " ".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
