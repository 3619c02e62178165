"""A packet of the simulated internet."""

from __future__ import annotations

from typing import Literal, NamedTuple

from tunnelmesh.lab.sim.segment import Segment
from tunnelmesh.wire.endpoint import Endpoint

Protocol = Literal["udp", "tcp"]

#: An IPv4 header with a UDP header, and with a TCP header, in bytes.
UDP_OVERHEAD = 28
TCP_OVERHEAD = 40


class Packet(NamedTuple):
    """What the networks carry: addressed like IP, but not made of bytes, which is quicker.

    :ivar protocol: 'udp' or 'tcp'.
    :ivar payload: a datagram over UDP; a segment over TCP.
    """

    protocol: Protocol
    source: Endpoint
    destination: Endpoint
    payload: bytes | Segment

    @property
    def size(self) -> int:
        """Bytes it would have on a wire (with an IPv4 header)."""
        if isinstance(self.payload, Segment):
            return len(self.payload.data) + TCP_OVERHEAD
        return len(self.payload) + UDP_OVERHEAD

    def describe(self) -> str:
        """What it carries, in a few characters."""
        if isinstance(self.payload, Segment):
            return f"TCP {self.payload.describe()}"
        return f"UDP {len(self.payload)} bytes"
