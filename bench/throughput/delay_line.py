"""A program: a wire so long that packets take a while, for kernels without netem.

Arguments: another namespace, and the delay in seconds, each way. It makes the TUN device ``line``
in the namespace that it runs in and in the other one, and carries packets between the two:
super-packets whole, so that it is no slower than what it measures. Nothing is needed but Python.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

DEVICE = "line"

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
TUN, NO_PI, VNET_HDR = 0x1, 0x1000, 0x4000
OFFLOADS = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40
"""Checksums, TCP over IPv4 and IPv6, ECN, UDP over both (linux/if_tun.h)."""

CLONE_NEWNET = 0x40000000

LONGEST = 65536 + 10
"""Bytes of a super-packet and its virtio header."""

MANY = 64
"""Packets taken at most before the other direction gets its turn."""


def tun() -> int:
    """Make the device in this namespace."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), TUN | NO_PI | VNET_HDR))
    fcntl.ioctl(device, TUNSETOFFLOAD, OFFLOADS)
    return device


def enter(namespace: str) -> None:
    """Go to another namespace."""
    with open(f"/run/netns/{namespace}") as place:
        if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns: {namespace}")


def carry(ends: tuple[int, int], delay: float) -> None:
    """Carry packets for ever."""
    near, far = ends
    ways = ((near, far, deque()), (far, near, deque()))  # type: ignore[var-annotated]
    while True:
        now = time.monotonic()
        for _, to, waiting in ways:
            while waiting and waiting[0][0] <= now:
                try:
                    os.write(to, waiting.popleft()[1])
                except OSError:
                    pass  # the device is down
        due = min((waiting[0][0] for _, _, waiting in ways if waiting), default=now + 1.0)
        ready, _, _ = select.select(ends, [], [], max(0.0, due - time.monotonic()))
        for by, _, waiting in ways:
            if by not in ready:
                continue
            for _ in range(MANY):
                try:
                    packet = os.read(by, LONGEST)
                except OSError:
                    break
                waiting.append((time.monotonic() + delay, packet))


def main(other: str, delay: str) -> None:
    """Make both ends, say so, and carry."""
    near = tun()
    enter(other)
    far = tun()
    print("ready", flush=True)
    carry((near, far), float(delay))


if __name__ == "__main__":
    main(*sys.argv[1:])
