"""A program: have the kernel, not the device, cut super-packets. What ``ethtool -K DEVICE`` does.

Argument: a device of the namespace that it runs in. Nothing is needed but Python.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import sys

SIOCETHTOOL = 0x8946
GSSET_INFO, GSTRINGS, SFEATURES = 0x37, 0x1B, 0x3B
FEATURES = 4
"""The set of strings that names features (linux/ethtool.h)."""

LENGTH = 32
"""Bytes of each name."""

CUTTING = (
    b"tx-tcp-segmentation",
    b"tx-tcp-ecn-segmentation",
    b"tx-tcp-mangleid-segmentation",
    b"tx-tcp6-segmentation",
    b"tx-udp-segmentation",
)


def ethtool(udp: socket.socket, device: str, request: bytes) -> bytes:
    """Ask the kernel; the answer is as long as the request."""
    buffer = array.array("B", request)
    address, _ = buffer.buffer_info()
    fcntl.ioctl(udp, SIOCETHTOOL, struct.pack("16sP16x", device.encode(), address))
    return buffer.tobytes()


def switch_off(device: str) -> None:
    """Take these features from a device."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        sets = ethtool(udp, device, struct.pack("IIQI", GSSET_INFO, 0, 1 << FEATURES, 0))
        count = struct.unpack_from("I", sets, 16)[0]
        head = struct.pack("III", GSTRINGS, FEATURES, count)
        text = ethtool(udp, device, head + bytes(count * LENGTH))[len(head) :]
        names = [text[i : i + LENGTH].rstrip(b"\0") for i in range(0, len(text), LENGTH)]
        words = (count + 31) // 32
        valid = [0] * words
        for name in CUTTING:
            place = names.index(name)
            valid[place // 32] |= 1 << place % 32
        blocks = b"".join(struct.pack("II", each, 0) for each in valid)
        ethtool(udp, device, struct.pack("II", SFEATURES, words) + blocks)


if __name__ == "__main__":
    switch_off(sys.argv[1])
