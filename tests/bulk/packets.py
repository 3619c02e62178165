"""Super-packets as a kernel hands them over, and Scapy's opinion of packets."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_address
from typing import Any

from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.packet import Packet, Raw

from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.wire.virtio import (
    GSO_ECN,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    HEADER_SIZE,
    NEEDS_CSUM,
    VirtioHeader,
)

MARGIN = 7
"""Bytes before and after a super-packet in its buffer, which nobody may touch."""

TIMESTAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (77, 78))]
"""The options of nearly every TCP segment."""


def super_packet(headers: Packet, payload: bytes, segment_size: int) -> SuperPacket:
    """The super-packet with these IP and TCP or UDP headers, of which lengths and checksums are put
    right, as the kernel would hand it over."""
    packet = bytearray(bytes(headers / Raw(payload)))
    parsed = type(headers)(bytes(packet))
    transport = parsed.getlayer(TCP) or parsed.getlayer(UDP)
    start = len(packet) - len(bytes(transport))
    is_tcp, is_v4 = isinstance(transport, TCP), isinstance(parsed, IP)
    checksum = 16 if is_tcp else 6
    addresses = packet[12:20] if is_v4 else packet[8:40]
    routing = parsed.getlayer(IPv6ExtHdrRouting)
    if routing:
        addresses[16:] = ip_address(routing.addresses[-1]).packed  # RFC 8200, 8.1
    covered = addresses + struct.pack(">HH", 6 if is_tcp else 17, len(packet) - start)
    total = sum(struct.unpack(f">{len(covered) // 2}H", covered))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into(">H", packet, start + checksum, total)
    kind = (GSO_TCPV4 if is_v4 else GSO_TCPV6) if is_tcp else GSO_UDP_L4
    if is_tcp and transport.flags.C:
        kind |= GSO_ECN
    size = len(packet) - len(payload)
    virtio = VirtioHeader(NEEDS_CSUM, kind, size, segment_size, start, checksum)
    margin = b"\xa5" * MARGIN
    buffer = bytearray(margin + virtio.pack() + packet + margin)
    return SuperPacket.read(buffer, MARGIN, len(buffer) - MARGIN)


def whole(packet: SuperPacket) -> bytes:
    """Its virtio header, headers and payload."""
    return bytes(packet.buffer[packet.start : packet.stop])


def template(packet: SuperPacket) -> bytearray:
    """Its virtio header and headers."""
    return packet.buffer[packet.start : packet.start + HEADER_SIZE + packet.headers]


def contents(packet: SuperPacket) -> bytes:
    """Its payload."""
    return bytes(packet.buffer[packet.start + HEADER_SIZE + packet.headers : packet.stop])


def by_scapy(packet: bytes) -> Packet:
    """The packet with its lengths and checksums as Scapy reckons them."""
    parsed = (IP if packet[0] >> 4 == 4 else IPv6)(packet)
    layer: Any = parsed
    while layer:
        for field in ("len", "plen", "chksum"):
            if field in layer.fields:
                delattr(layer, field)
        layer = layer.payload
    return type(parsed)(bytes(parsed))


@st.composite
def headers(draw: st.DrawFn) -> Packet:
    """Any IP and TCP or UDP headers that a super-packet can have."""
    word = st.integers(0, 0xFFFF)
    if draw(st.booleans()):
        ip = IP(
            src="100.96.0.1",
            dst="100.96.0.2",
            tos=draw(st.integers(0, 255)),
            id=draw(word),
            flags=draw(st.sampled_from(["", "DF"])),
            options=draw(st.sampled_from([[], b"\x01\x01\x01\x00"])),
        )
    else:
        ip = IPv6(src="fd00::1", dst="fd00::2", tc=draw(st.integers(0, 255)), fl=draw(word))
        extensions = draw(st.integers(0, 7))
        if extensions & 1:
            ip /= IPv6ExtHdrHopByHop(options=[PadN(optdata=b"123456789012")])
        if extensions & 2:
            ip /= IPv6ExtHdrRouting(addresses=["fd00::3"])
        if extensions & 4:
            ip /= IPv6ExtHdrDestOpt(options=[PadN(optdata=b"1234")])
    if draw(st.integers(0, 2)) == 0:
        return ip / UDP(sport=draw(word), dport=draw(word))
    return ip / TCP(
        sport=draw(word),
        dport=draw(word),
        seq=draw(st.sampled_from([0, 5, 2**32 - 100, 2**31])),
        ack=draw(word),
        window=draw(word),
        flags="A" + draw(st.sampled_from(["", "P", "F", "PF", "E", "C", "CEPF"])),
        options=draw(st.sampled_from([[], TIMESTAMPS])),
    )


@st.composite
def super_packets(draw: st.DrawFn) -> SuperPacket:
    """Any super-packet."""
    size = draw(st.sampled_from([8, 9, 100, 511, 1368, 1400]))
    length = size * draw(st.integers(0, 4)) + draw(st.integers(1, size))
    payload = random.Random(draw(st.integers(0, 99))).randbytes(length)
    if draw(st.integers(0, 9)) == 0:
        payload = draw(st.sampled_from([b"\0", b"\xff"])) * length
    return super_packet(draw(headers()), payload, size)
