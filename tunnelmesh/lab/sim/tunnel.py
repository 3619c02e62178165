"""A TUN device of the simulation: between a peer's program and its machine's kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from zope.interface import implementer

from tunnelmesh.interfaces import ITunnelDevice, ITunnelUser
from tunnelmesh.tun.offload import ordinary_packets

if TYPE_CHECKING:
    from tunnelmesh.lab.sim.host import Host


@implementer(ITunnelDevice)
class TunnelDevice:
    """What a peer is given in place of the kernel's device; see :meth:`Host.tunnel_device`.

    :ivar kernel: gets the packets that the peer writes, in a batch. Packets that are written
        while it is None are dropped.
    :ivar dropped: packets that did not get to the other side.
    """

    offloads = False
    udp_offload = False
    lacking = "the simulation has none"

    def __init__(self, host: Host, name: str, mtu: int) -> None:
        self.host = host
        self.name = name
        self.mtu = mtu
        self.kernel: Callable[[Sequence[bytes]], None] | None = None
        self.dropped = 0
        self._user: ITunnelUser | None = None

    # The program's side.

    def start(self, user: ITunnelUser) -> None:
        self._user = user

    def write(self, packets: Sequence[bytes]) -> None:
        batch = [bytes(packet) for packet in packets]
        self.host.clock.at(self.host.seconds(), self._arrive, batch)

    def write_bulk(self, packet: memoryview) -> None:
        self.write(ordinary_packets(packet))

    def collect(self) -> None:
        pass  # the kernel answers by itself

    def stop(self) -> None:
        self._user = None
        self.kernel = None

    # The kernel's side.

    def leave(self, packets: Sequence[bytes]) -> None:
        """The kernel sends packets into the tunnel."""
        fitting = [packet for packet in packets if len(packet) <= self.mtu]
        if self._user is None or self.host.asleep:
            fitting = []
        self.dropped += len(packets) - len(fitting)
        if fitting and self._user is not None:
            self._user.packets_leaving(fitting)

    def _arrive(self, batch: list[bytes]) -> None:
        if self.kernel is None:
            self.dropped += len(batch)
        else:
            self.kernel(batch)
