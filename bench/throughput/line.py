"""Two machines joined by one wire, of which one is also the other's way to the coordinator."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from tunnelmesh.errors import LabError
from tunnelmesh.lab.kernel import World, available
from tunnelmesh.lab.kernel.mesh import Mesh
from tunnelmesh.lab.kernel.namespaces import ip, shell
from tunnelmesh.lab.kernel.programs import end
from tunnelmesh.lab.kernel.segments import Lease, Segment

BENCHMARKS = IPv4Network("198.18.0.0/16")
"""Addresses of wires, out of those that are there for measurements (RFC 2544 §C.2.2)."""

ROUND_TRIP = 0.02
"""Seconds there and back on the long wire."""

DELAY_LINE = Path(__file__).with_name("delay_line.py")

OFFLOADS = Path(__file__).with_name("offloads.py")


TUN = "/dev/net/tun"


def missing() -> str | None:
    """Say what this machine lacks for tunnels between namespaces, if it lacks anything."""
    if reason := available():
        return reason
    return None if os.access(TUN, os.R_OK | os.W_OK) else f"no right to open {TUN}: run as root"


class Wire(Segment):
    """The near machine's cable: it ends in the far machine itself."""

    def __init__(self, namespace: str, network: IPv4Network) -> None:
        self.network = network
        self.router, other = network.hosts()
        super().__init__(namespace, [other])

    def _lease(self, addresses: tuple[IPv4Address, ...]) -> Lease:
        return Lease(addresses, self.network.prefixlen, self.router)

    def _opening(self, port: str, lease: Lease) -> list[str]:
        address = f"{self.router}/{self.network.prefixlen}"
        return [f"address add {address} dev {port}", f"link set dev {port} up"]

    def _closing(self, port: str, lease: Lease) -> list[str]:
        return []


class Line:
    """A wire between two new machines, ``near`` and ``far``.

    Every packet between them passes it, whichever of their addresses it is for.

    :param network: a /30.
    """

    def __init__(self, world: World, name: str, network: IPv4Network) -> None:
        self.world = world
        self.far = world.add_host(f"{name}-far")
        wire = Wire(self.far.namespace, network)
        self.near = world.connect(f"{name}-near", wire)
        self.far_address, self.near_address = str(wire.router), self.near.address
        shell("echo 1 >/proc/sys/net/ipv4/ip_forward", self.far.namespace)
        uplink = self.far.cable
        back = f"route add {network} via {uplink.address} dev {uplink.port} onlink"
        ip([back], uplink.segment.namespace)

    @contextmanager
    def losing(self, percent: float) -> Iterator[None]:
        """Lose this share of the packets, each way, for a while.

        nftables draws for each datagram as it arrives; super-packets are cut before: see
        :meth:`Cable.lose`.
        """
        self.near.cable.lose(percent)
        try:
            yield
        finally:
            self.near.cable.lose(0)

    @contextmanager
    def delayed(self) -> Iterator[None]:
        """Lead everything through the long wire, for a while."""
        argv = [sys.executable, "-IS", str(DELAY_LINE), self.far.namespace, str(ROUND_TRIP / 2)]
        program = self.near.popen(argv, stdout=subprocess.PIPE, text=True)
        assert program.stdout is not None
        with program.stdout:
            if program.stdout.readline() != "ready\n":
                raise LabError("the delay line does not start")
            try:
                for host, own, others in (
                    (self.near, self.near_address, [self.far_address, self.far.address]),
                    (self.far, self.far_address, [self.near_address]),
                ):
                    routes = [f"route add {each}/32 dev line src {own}" for each in others]
                    ip(["link set line up", *routes], host.namespace)
                yield
            finally:
                end([program])

    def without_offloads(self) -> None:
        """Have the kernel cut super-packets before they go on the wire, as for a simple card."""
        for host, device in (self.near, self.near.cable.device), (self.far, self.near.cable.port):
            host.run([sys.executable, "-IS", str(OFFLOADS), device])


class Laboratory:
    """Lines, and one coordinator for those who need it.

    :param offloads: whether the wires take super-packets whole, as they are made.
    """

    def __init__(self, world: World, offloads: bool = True) -> None:
        self.world = world
        self._offloads = offloads
        self._networks = BENCHMARKS.subnets(new_prefix=30)

    def line(self, name: str) -> Line:
        """Lay a wire."""
        line = Line(self.world, name, next(self._networks))
        if not self._offloads:
            line.without_offloads()
        return line

    @cached_property
    def mesh(self) -> Mesh:
        """A mesh whose coordinator runs."""
        mesh = Mesh(self.world)
        mesh.coordinator.start()
        return mesh
