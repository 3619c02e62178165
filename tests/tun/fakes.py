"""A kernel, a reactor and a user for the TUN device."""

import errno
import os
import struct
from collections import deque

from zope.interface import implementer

from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.interfaces import ITunnelUser
from tunnelmesh.tun.device import System
from tunnelmesh.tun.offload import Offloads
from tunnelmesh.wire.ip import checksum
from tunnelmesh.wire.virtio import GSO_TCPV4, GSO_UDP_L4, NEEDS_CSUM, VirtioHeader

PLAIN = Offloads(False, False, False, "an old kernel")


class FakeSystem(System):
    """A kernel with a queue of packets, or of errors, to read; and errors to answer writes with.

    Each has a virtio header before it if the offloads say so.
    """

    def __init__(self, offloads: Offloads = PLAIN) -> None:
        self.offloads = offloads
        self.queue = deque()
        self.taken = []
        self.write_errors = {}
        self.opened = 0
        self.closed = []
        self.fail_at = {}

    def call(self, name: str) -> None:
        """Fail if told to."""
        if name in self.fail_at:
            raise OSError(self.fail_at[name], os.strerror(self.fail_at[name]))

    def open(self, path: str, flags: int) -> int:
        """Open, as file 7."""
        self.call("open")
        self.opened += 1
        return 7

    def attach(self, fd: int, name: str) -> Offloads:
        """Name the device."""
        self.call("attach")
        return self.offloads

    def configure(self, *arguments) -> None:
        """Address the device."""
        self.call("configure")

    def limit_super_packets(self, name: str, size: int) -> None:
        """Limit what comes."""
        self.call("limit")
        self.limit = size

    def readv(self, fd: int, buffers: list[memoryview]) -> int:
        """The next packet, cut as the kernel would."""
        if fd != 7:
            raise OSError(errno.EBADF, "not open")
        if not self.queue:
            raise BlockingIOError(errno.EAGAIN, "again")
        item = self.queue.popleft()
        if isinstance(item, OSError):
            raise item
        item = item[: len(buffers[0])]
        buffers[0][: len(item)] = item
        return len(item)

    def write(self, fd: int, packet: bytes) -> int:
        """Take a packet, or not."""
        if fd != 7:
            raise OSError(errno.EBADF, "not open")
        if bytes(packet) in self.write_errors:
            raise OSError(self.write_errors[bytes(packet)], "refused")
        self.taken.append(bytes(packet))
        return len(packet)

    def close(self, fd: int) -> None:
        """Close a file."""
        self.closed.append(fd)


class FakeReactor:
    """A set of readers."""

    def __init__(self) -> None:
        self.readers = set()

    def seconds(self) -> float:
        """Always the same time."""
        return 1000.0

    def addReader(self, reader) -> None:
        """Add one."""
        self.readers.add(reader)

    def removeReader(self, reader) -> None:
        """Remove one, if it is there."""
        self.readers.discard(reader)


@implementer(ITunnelUser)
class FakeUser:
    """Keeps batches and super-packets; may have a bug."""

    def __init__(self, bug: Exception | None = None) -> None:
        self.batches = []
        self.events = []
        self.bug = bug
        self.lanes = {}

    def packets_leaving(self, packets) -> None:
        """A batch from the device."""
        self.batches.append(list(packets))
        self.events.append(list(packets))
        if self.bug:
            raise self.bug

    def bulk_leaving(self, packet: SuperPacket) -> None:
        """A super-packet from the device."""
        self.events.append(bytes(packet.buffer[packet.start : packet.stop]))
        if self.bug:
            raise self.bug


def ip_packet(protocol: int, transport: bytes) -> bytes:
    """An IPv4 packet, its TCP or UDP checksum being the pseudo-header's sum only."""
    offset = 16 if protocol == 6 else 6
    ends = bytes([100, 96, 1, 2, 100, 96, 1, 3])
    pseudo = ends + struct.pack(">HH", protocol, len(transport))
    total = 65535 - checksum(pseudo)
    transport = transport[:offset] + struct.pack(">H", total) + transport[offset + 2 :]
    start = struct.pack(">BBHHHBB", 0x45, 0, 20 + len(transport), 7, 0x4000, 64, protocol)
    return start + struct.pack(">H", checksum(start + ends)) + ends + transport


def tcp_super_packet(payload: bytes, segment: int) -> bytes:
    """A virtio header and a TCP super-packet."""
    header = VirtioHeader(NEEDS_CSUM, GSO_TCPV4, 40, segment, 20, 16).pack()
    tcp = struct.pack(">HHIIBBHHH", 5000, 6000, 1, 2, 0x50, 0x10, 500, 0, 0)
    return header + ip_packet(6, tcp + payload)


def udp_super_packet(payload: bytes, segment: int) -> bytes:
    """A virtio header and a UDP super-packet."""
    header = VirtioHeader(NEEDS_CSUM, GSO_UDP_L4, 28, segment, 20, 6).pack()
    return header + ip_packet(17, udp(payload))


def udp(payload: bytes) -> bytes:
    """A UDP header, without checksum, and its payload."""
    return struct.pack(">HHHH", 5000, 6000, 8 + len(payload), 0) + payload
