"""A program: a wire that loses, repeats and reorders datagrams, but for some quiet stretches.

Argument: another namespace. It makes the TUN device ``line`` in the namespace that it runs in and
in the other one, and carries packets between the two until its standard input ends. Then it prints,
as JSON, how many it has lost, repeated and held back, and how many were of each form that bulk
traffic takes.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import select
import struct
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import count
from random import Random

from bench.throughput.delay_line import DEVICE, NO_PI, TUN, TUNSETIFF, enter

STRETCH = 12_000
"""Packets one way after which the wire begins, or ceases, to lose some: a few times as many as a
peer needs to see that a wire is clean, and then some."""

LOST, REPEATED, HELD = 0.01, 0.01, 0.02
"""Parts of the packets. They are repeated and held back in the quiet stretches as well."""

HOLD = 0.002
"""Seconds by which a packet is held back: some dozens overtake it."""

PAYLOAD = 28
"""Where a UDP datagram's payload starts in an IPv4 packet."""

UDP = 17
"""The protocol's number; the links to the coordinator, over TCP, pass here too."""


def tun() -> int:
    """Make the device in this namespace. Without offloads each datagram is a packet of its own."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), TUN | NO_PI))
    return device


def form(packet: bytes) -> str:
    """In which form a datagram carries traffic."""
    if packet[0] >> 4 != 4 or packet[9] != UDP:
        return "other"
    if packet[PAYLOAD : PAYLOAD + 1] == b"\x05":
        return "whole" if packet[PAYLOAD + 2] else "segments"
    return "packets" if packet[PAYLOAD : PAYLOAD + 4] == b"\4\0\0\0" else "other"


def put(device: int, packet: bytes) -> None:
    """Let a packet arrive, if the device is up."""
    with suppress(OSError):
        os.write(device, packet)


def carry(ends: tuple[int, int]) -> Counter[str]:
    """Carry packets until the standard input ends."""
    random, number = Random(4), count()
    told: Counter[str] = Counter()
    passed: Counter[int] = Counter()
    held: list[tuple[float, int, int, bytes]] = []
    other = dict(zip(ends, reversed(ends), strict=True))
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        ready, _, _ = select.select([*ends, sys.stdin], [], [], wait)
        if sys.stdin in ready:
            return told
        while held and held[0][0] <= time.monotonic():
            _, _, to, packet = heapq.heappop(held)
            put(to, packet)
        for by in ready:
            packet = os.read(by, 65535)
            to = other[by]
            passed[by] += 1
            told[form(packet)] += 1
            drawn = random.random()
            if drawn < LOST:
                if passed[by] // STRETCH % 2:
                    told["lost"] += 1
                    continue
            elif drawn < LOST + REPEATED:
                told["repeated"] += 1
                put(to, packet)
            elif drawn < LOST + REPEATED + HELD:
                told["held"] += 1
                heapq.heappush(held, (time.monotonic() + HOLD, next(number), to, packet))
                continue
            put(to, packet)


def main(other: str) -> None:
    """Make both ends, say so, carry, and tell."""
    near = tun()
    enter(other)
    far = tun()
    print("ready", flush=True)
    print(json.dumps(carry((near, far))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
