"""The kernel as witness: it forwards super-packets to a device that cannot take them whole."""

from __future__ import annotations

import json
import random

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, PadN
from scapy.packet import Packet

from tests.bulk.packets import TIMESTAMPS, contents, super_packet, template, whole
from tests.tun.scenes import Scenes
from tunnelmesh.bulk.coalescing import coalesce
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.bulk.template import assemble

FORWARD = """
import fcntl, os, select, struct, subprocess, sys

def tun(name, flags):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001 | flags))
    return fd

near, far = tun("near", 0x4000), tun("far", 0)
for version in ("ipv4", "ipv6"):
    with open(f"/proc/sys/net/{version}/conf/all/forwarding", "w") as file:
        file.write("1")
subprocess.run(["ip", "-batch", "-"], input=b'''
link set near up
link set far up
addr add 10.1.0.1/24 dev near
addr add 10.2.0.1/24 dev far
addr add fd01::1/64 dev near nodad
addr add fd02::1/64 dev far nodad
''', check=True)
outcome = []
for frame, count in json.load(open(FRAMES)):
    os.write(near, bytes.fromhex(frame))
    packets = []
    while len(packets) < count and select.select([far], [], [], 5)[0]:
        packet = os.read(far, 65535)
        if packet[0] >> 4 == 4 or packet[24] != 0xFF:  # the kernel's own multicast
            packets.append(packet.hex())
    outcome.append(packets)
tell(outcome)
"""

V4 = IP(src="10.1.0.2", dst="10.2.0.2", id=65534)
V6 = IPv6(src="fd01::2", dst="fd02::2")


def pair(headers: Packet, size: int, segment: int) -> tuple[SuperPacket, SuperPacket]:
    """A super-packet, and the same after one more hop."""
    payload = random.Random(size).randbytes(size)
    near, far = headers.copy(), headers.copy()
    if isinstance(headers, IP):
        near.ttl, far.ttl = 64, 63
    else:
        near.hlim, far.hlim = 64, 63
    return super_packet(near, payload, segment), super_packet(far, payload, segment)


class KernelTests(Scenes):
    """What the kernel takes and makes of it."""

    def test_segments(self) -> None:
        """It cuts super-packets up as we do, also those that were put together or are partial."""
        frames: list[tuple[str, int]] = []
        expected: list[list[str]] = []
        for headers, size, segment in [
            (V4 / TCP(flags="A", options=TIMESTAMPS), 60000, 1368),
            (V4 / TCP(flags="CEPFA", seq=2**32 - 1000), 5000, 1001),
            (IP(src=V4.src, dst=V4.dst, flags="DF", tos=1) / TCP(flags="PA"), 4000, 1000),
            (V4 / TCP(flags="CPA"), 3500, 1000),
            (V6 / TCP(flags="CPA", options=TIMESTAMPS), 40000, 1348),
            (V6 / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"1234")]) / TCP(flags="PA"), 5000, 999),
            (V4 / UDP(sport=5, dport=6), 5001, 1200),
            (V6 / UDP(sport=5, dport=6), 5001, 1200),
        ]:
            near, far = pair(headers, size, segment)
            packets = [each.hex() for each in far.packets()]
            frames.append((whole(near).hex(), near.count))
            expected.append(packets)
            if near.transport in (20, 40):
                (again,) = coalesce(near.packets(), udp=True)
                assert isinstance(again, SuperPacket)
                frames.append((whole(again).hex(), near.count))
                expected.append(packets)
            for first, count in [(0, 2), (1, 2), (near.count - 2, 2), (1, 1), (near.count - 1, 1)]:
                payload = contents(near)[first * segment : (first + count) * segment]
                buffer = template(near) + payload
                assemble(buffer, 0, len(buffer), first)
                frames.append((buffer.hex(), count))
                expected.append(packets[first : first + count])
        file = self.mktemp()
        with open(file, "w") as out:
            json.dump(frames, out)
        self.assertEqual(self.play(f"FRAMES = {file!r}\n{FORWARD}"), expected)
