"""Which of the kernel's offloads carry this machine's traffic, for people and programs."""

from __future__ import annotations

from typing import Any

from tunnelmesh.interfaces import ITunnelDevice
from tunnelmesh.transports.udp import UdpTransport


def offloads(device: ITunnelDevice | None, udp: UdpTransport) -> dict[str, Any]:
    """The part ``offloads`` of what ``tunnelmesh netcheck --json`` prints.

    :param device: None where the peer does without one.
    :param udp: the main socket.
    """
    lacking = []
    if device is None:
        lacking.append("there is no network device")
    elif device.lacking:
        lacking.append(f"network device: {device.lacking}")
    if not udp.segmentation:
        lacking.append("datagrams are sent one by one: UDP_SEGMENT needs Linux 4.18")
    if not udp.coalescing:
        lacking.append("datagrams are read one by one: UDP_GRO needs Linux 5.0")
    return {
        "device": device is not None and device.offloads,
        "device_udp": device is not None and device.udp_offload,
        "udp_segmentation": udp.segmentation,
        "udp_coalescing": udp.coalescing,
        "lacking": lacking,
    }
