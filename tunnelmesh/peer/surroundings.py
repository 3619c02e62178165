"""What all remote peers of one machine share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Address
from random import Random
from typing import Any

from tunnelmesh.noise.device import Device
from tunnelmesh.transports.relay import RelayTransport
from tunnelmesh.transports.udp import UdpTransport
from tunnelmesh.wire.signal import Describe, Signal


@dataclass
class Surroundings:
    """The machine, as its remote peers see it.

    :ivar interface: this machine's mesh address, in the mesh's network; *address6* its IPv6 one.
    """

    reactor: Any
    random: Random
    entropy: Callable[[int], bytes]
    tokens: Callable[[], int]
    private_key: bytes
    interface: IPv4Interface
    address6: IPv6Address
    device: Device
    udp: UdpTransport
    relay: RelayTransport
    signal: Callable[[Signal], None]
    met: Callable[[], None]
    path_failed: Callable[[], None]
    own: Callable[[], Describe]
    relay_only: bool
