"""A TUN device's offloads: the kernel hands over, and takes, up to 64 KB of one flow at once.

Each packet then has a virtio header (:mod:`tunnelmesh.wire.virtio`) before it. What a kernel lacks
is done without, and said.
"""

from __future__ import annotations

import fcntl
import struct
from contextlib import suppress
from dataclasses import dataclass

from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.wire.virtio import GSO_NONE, HEADER_SIZE, VirtioHeader

# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_CHECKSUM = 0x01
_TSO = 0x02 | 0x04
_TSO_ECN = 0x08
_USO = 0x20 | 0x40

_REQUEST = struct.Struct("16sH22x")
_NUMBER = struct.Struct("=i")


@dataclass(frozen=True)
class Offloads:
    """What a device does for us.

    :ivar header: whether a virtio header goes before each packet.
    :ivar tcp: whether whole flights of TCP segments come and go as one super-packet.
    :ivar udp: the same for UDP.
    :ivar lacking: why something is lacking, for people; empty if nothing is.
    """

    header: bool = True
    tcp: bool = True
    udp: bool = True
    lacking: str = ""


def attach(fd: int, name: str) -> Offloads:
    """Make *fd* the other end of the TUN device *name*, with all the offloads there are.

    :raises OSError: if there can be no such device.
    """
    flags = _IFF_TUN | _IFF_NO_PI
    interface = name.encode()
    try:
        fcntl.ioctl(fd, _TUNSETIFF, _REQUEST.pack(interface, flags | _IFF_VNET_HDR))
    except OSError as error:
        fcntl.ioctl(fd, _TUNSETIFF, _REQUEST.pack(interface, flags))
        return Offloads(False, False, False, f"no virtio headers: {error.strerror}")
    with suppress(OSError):  # it is the default
        fcntl.ioctl(fd, _TUNSETVNETHDRSZ, _NUMBER.pack(HEADER_SIZE))
    tcp = _CHECKSUM | _TSO | _TSO_ECN
    try:
        fcntl.ioctl(fd, _TUNSETOFFLOAD, tcp | _USO)
    except OSError:
        try:
            fcntl.ioctl(fd, _TUNSETOFFLOAD, tcp)
        except OSError as error:
            return Offloads(True, False, False, f"no segmentation: {error.strerror}")
        return Offloads(udp=False, lacking="no segmentation of UDP: it needs Linux 6.2")
    return Offloads()


def ordinary_packets(packet: memoryview) -> list[bytes]:
    """What a virtio header and a packet stand for, where there are no offloads.

    :raises DecodeError: if they do not fit each other.
    """
    if VirtioHeader.unpack_from(packet).gso_type == GSO_NONE:
        return [bytes(packet[HEADER_SIZE:])]
    return SuperPacket.read(bytearray(packet), 0, len(packet)).packets()
