"""TunnelMesh, by the direct path."""

from __future__ import annotations

from argparse import Namespace
from typing import ClassVar

from bench.throughput.systems.system import System
from tunnelmesh.config import PeerConfig, settings
from tunnelmesh.lab.kernel import Host
from tunnelmesh.lab.kernel.mesh import Peer, wait_until


class TunnelMesh(System):
    """As it is when nobody sets anything."""

    name = "tunnelmesh"
    form: ClassVar[str | None] = None

    @classmethod
    def missing(cls, options: Namespace) -> str | None:
        """Whether this version has the form."""
        if cls.form is None or "bulk" in settings(PeerConfig):
            return None
        return "this version of TunnelMesh has no setting 'bulk'"

    def start(self) -> None:
        """Let both join, and wait until they reach each other directly."""
        mesh = self.laboratory.mesh
        options = [f"--join={mesh.coordinator.invite(uses=2)}", "--mode=tun"]
        if self.form:
            options.append(f"--bulk={self.form}")
        self.peers = [self.add(host, options) for host in (self.line.near, self.line.far)]
        wait_until(self.direct, f"{self.name} to find the direct path")
        near, far = self.peers
        self.near, self.far = near.address, far.address

    def direct(self) -> bool:
        """Whether both ends use UDP."""
        near, far = self.peers
        return near.path_to(far.name) == "udp" == far.path_to(near.name)

    def add(self, host: Host, options: list[str]) -> Peer:
        """Start a peer."""
        peer = self.laboratory.mesh.add_peer(host, *options)
        assert peer.process is not None
        self.programs.append(peer.process)
        return peer


class Segments(TunnelMesh):
    """Each segment sealed alone."""

    name = "tunnelmesh-segments"
    form = "segments"


class Packets(TunnelMesh):
    """WireGuard's own packets, as for a stock peer."""

    name = "tunnelmesh-packets"
    form = "packets"
