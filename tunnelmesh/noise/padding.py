"""The padding of packets, so that their length tells less (paper, §5.4.6)."""

from __future__ import annotations

from tunnelmesh.wire.ip import IPV4_HEADER, IPV6_HEADER, packet_length

MULTIPLE = 16
"""Bytes to a multiple of which a packet is padded."""


def padded(length: int, mtu: int) -> int:
    """Bytes of a padded packet: not more than the MTU, unless it is longer itself."""
    return length + min(-length % MULTIPLE, max(mtu - length, 0))


def unpadded(packet: bytes) -> bytes | None:
    """Cut an IP packet's padding off; None if it is shorter than its header, or says so.

    What is no IP packet comes with its padding.
    """
    version = packet[0] >> 4
    if version not in (4, 6):
        return packet
    header = IPV4_HEADER if version == 4 else IPV6_HEADER
    if len(packet) < header:
        return None
    total = packet_length(packet)
    return packet[:total] if header <= total <= len(packet) else None
