"""What the TUN device alone costs, and for how long at a time it keeps the reactor.

Run as root, as ``python -m bench.device [--udp] [--ipv6] [--as-packets] [--plain END] [--json]``.
In two network namespaces of its own, one program sends to another; this one joins their two TUN
devices, unsealed. Shown are the rate, this process's CPU, and how late a timer of 5 ms was.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import hashlib
import json
import os
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from zope.interface import implementer

from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.interfaces import ITunnelUser
from tunnelmesh.tun.device import KernelDevice, System, open_device
from tunnelmesh.tun.offload import Offloads

MEGABYTES = 400
TICK = 0.005
PATIENCE = 30.0
"""Seconds after which a transfer has failed."""

NEAR = IPv4Interface("100.96.0.1/16"), IPv6Interface("fd00:96::1/64")
FAR = IPv4Interface("100.96.0.2/16"), IPv6Interface("fd00:96::2/64")
BLOCK = hashlib.shake_128(b"a block").digest(1_000_000)

DATAGRAM = 1200
FLIGHT = 40
"""Datagrams, all but the last of one length, that a UDP program sends in one call."""

_CLONE_NEWNET = 0x40000000
_SO_RCVBUFFORCE = 33
_SO_SNDBUFFORCE = 32
_UDP_SEGMENT = 103


class Plain(System):
    """A kernel without offloads."""

    @staticmethod
    def attach(fd: int, name: str) -> Offloads:
        """A device as it was before there were any."""
        fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))
        return Offloads(False, False, False, "this is a test")


@implementer(ITunnelUser)
class Wire:
    """Takes what leaves one device to the other."""

    def __init__(self, far: KernelDevice, as_packets: bool) -> None:
        self.far = far
        self.as_packets = as_packets
        self.lanes: dict[bytes, Any] = {}
        self.super_packets = 0

    def packets_leaving(self, packets: Any) -> None:
        """Ordinary packets."""
        self.far.write(packets)

    def bulk_leaving(self, packet: SuperPacket) -> None:
        """A super-packet."""
        self.super_packets += 1
        if self.as_packets:
            self.far.write(packet.packets())
        else:
            self.far.write_bulk(memoryview(packet.buffer)[packet.start : packet.stop])


def child(work: Callable[[], object]) -> tuple[int, int]:
    """Do work in a process of its own; what it returns can be read from the pipe as JSON."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writable)
        return pid, readable
    try:
        os.write(writable, json.dumps(work()).encode())
    finally:
        os._exit(0)


def checksum_errors() -> int:
    """Segments and datagrams that this namespace's kernel found damaged (IPv4 and IPv6)."""
    with open(f"/proc/{os.getpid()}/net/snmp") as file:
        lines = [line.split() for line in file]
    total = 0
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        total += sum(int(v) for n, v in zip(names, values, strict=True) if n == "InCsumErrors")
    with open(f"/proc/{os.getpid()}/net/snmp6") as file:
        return total + sum(int(v) for n, v in map(str.split, file) if n.endswith("InCsumErrors"))


def send_tcp(family: int, to: tuple[str, int], megabytes: int) -> object:
    """Send over TCP; tell the digest."""
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.connect(to)
        for _ in range(megabytes):
            sock.sendall(BLOCK)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)
    digest = hashlib.sha256(BLOCK * megabytes if megabytes < 50 else b"").hexdigest()
    return [digest, checksum_errors()]


def receive_tcp(listening: socket.socket, megabytes: int) -> object:
    """Receive over TCP; tell the digest of a short transfer."""
    sock, _ = listening.accept()
    digest, buffer = hashlib.sha256(), memoryview(bytearray(1 << 20))
    while size := sock.recv_into(buffer):
        if megabytes < 50:
            digest.update(buffer[:size])
    sock.close()
    return [digest.hexdigest(), checksum_errors()]


def send_udp(family: int, to: tuple[str, int], megabytes: int) -> object:
    """Send flights of datagrams; tell the digest."""
    digest = hashlib.sha256()
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 8 << 20)
        sock.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, DATAGRAM)
        for _ in range(flights(megabytes)):
            data = BLOCK[: DATAGRAM * FLIGHT - 7]
            sock.sendto(data, to)
            digest.update(data)
            time.sleep(0.001)
    return [digest.hexdigest(), checksum_errors()]


def receive_udp(sock: socket.socket, megabytes: int) -> object:
    """Receive as many datagrams, for a while; tell the digest of them in order."""
    digest = hashlib.sha256()
    sock.settimeout(PATIENCE / 4)
    try:
        for number in range(flights(megabytes) * FLIGHT):
            data = sock.recv(65535)
            if len(data) != (DATAGRAM - 7 if number % FLIGHT == FLIGHT - 1 else DATAGRAM):
                return [f"datagram {number} has {len(data)} bytes", checksum_errors()]
            digest.update(data)
    except TimeoutError:
        return [f"{number} datagrams arrived", checksum_errors()]
    return [digest.hexdigest(), checksum_errors()]


def flights(megabytes: int) -> int:
    """How many calls send so much."""
    return megabytes * 1_000_000 // (DATAGRAM * FLIGHT)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One transfer."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    family = socket.AF_INET6 if options.ipv6 else socket.AF_INET
    kind = socket.SOCK_DGRAM if options.udp else socket.SOCK_STREAM
    send, receive = (send_udp, receive_udp) if options.udp else (send_tcp, receive_tcp)
    to = str(FAR[options.ipv6].ip), 5001
    go, start = os.pipe()

    def device(end: str, name: str, addresses: tuple[IPv4Interface, IPv6Interface]) -> KernelDevice:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
            raise SystemExit("needs the right to make network namespaces: run as root")
        system = Plain() if options.plain in (end, "both") else System()
        return open_device(reactor, name, *addresses, system=system)

    near = device("near", "near", NEAR)
    sender = child(lambda: (os.read(go, 1), send(family, to, options.megabytes))[1])
    far = device("far", "far", FAR)
    listening = socket.socket(family, kind)
    listening.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
    for _ in range(200):  # an IPv6 address is not ready at once
        try:
            listening.bind(("", 5001))
            break
        except OSError:
            time.sleep(0.01)
    if not options.udp:
        listening.listen()
    receiver = child(lambda: receive(listening, options.megabytes))

    out, back = Wire(far, options.as_packets), Wire(near, options.as_packets)
    near.start(out)
    far.start(back)
    late: list[float] = []
    begun, cpu, deadline = time.perf_counter(), time.process_time(), time.monotonic() + PATIENCE
    waiting = [sender[0], receiver[0]]

    def look(due: float) -> None:
        late.append((reactor.seconds() - due) * 1000)
        waiting[:] = [pid for pid in waiting if os.waitpid(pid, os.WNOHANG)[0] == 0]
        if waiting and time.monotonic() < deadline:
            reactor.callLater(TICK, look, reactor.seconds() + TICK)
        else:
            reactor.stop()

    reactor.callLater(0, look, reactor.seconds())
    reactor.callWhenRunning(os.write, start, b"!")
    reactor.run()
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    sent, damaged_near = json.loads(os.read(sender[1], 1000) or '["nothing was sent", 0]')
    got, damaged_far = json.loads(os.read(receiver[1], 1000) or '["nothing arrived", 0]')
    near.stop()
    far.stop()
    late.sort()
    return {
        "mbit_s": round(options.megabytes * 8 / took),
        "cpu_s_per_gb": round(cpu * 1000 / options.megabytes, 2),
        "late_ms": {
            "p50": round(statistics.median(late), 2),
            "p99": round(late[int(len(late) * 0.99)], 2),
            "max": round(late[-1], 2),
        },
        "super_packets": out.super_packets,
        "written": far.written,
        "refused": near.refused + far.refused,
        "malformed": near.malformed + far.malformed,
        "checksum_errors": damaged_near + damaged_far,
        "sent": sent,
        "received": got,
        "lacking": far.lacking,
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    parser.add_argument("--udp", action="store_true", help="datagrams, not a TCP stream")
    parser.add_argument("--ipv6", action="store_true")
    parser.add_argument("--as-packets", action="store_true", help="cut up and coalesced again")
    parser.add_argument("--plain", choices=["near", "far", "both"], help="which has no offloads")
    parser.add_argument("--json", action="store_true")
    result = measure(parser.parse_args())
    if "--json" in sys.argv:
        print(json.dumps(result))
        return
    late = result["late_ms"]
    print(f"{result['mbit_s']} Mbit/s, {result['cpu_s_per_gb']} CPU s/GB")
    print(f"a 5 ms timer was {late['p50']} ms late, p99 {late['p99']}, at most {late['max']}")


if __name__ == "__main__":
    main()
