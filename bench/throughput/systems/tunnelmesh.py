"""TunnelMesh, by the direct path."""

from __future__ import annotations

from argparse import Namespace
from typing import ClassVar

from bench.throughput.systems.system import System
from tunnelmesh.config import PeerConfig, settings
from tunnelmesh.lab.kernel.mesh import Peer, wait_until


class TunnelMesh(System):
    """As it is when nobody sets anything.

    :cvar bulk: the setting of that name, if it is set: the form that bulk traffic takes.
    :ivar peers: the near one and the far one.
    :ivar near_peer: what runs at the near end.
    """

    name: ClassVar[str] = "tunnelmesh"
    bulk: ClassVar[str | None] = None
    near_peer: type[Peer] = Peer

    @classmethod
    def missing(cls, options: Namespace) -> str | None:
        """Whether this version has the form."""
        if cls.bulk is None or "bulk" in settings(PeerConfig):
            return None
        return "this version of TunnelMesh has no setting 'bulk'"

    def start(self) -> None:
        """Let both join, and wait until they reach each other directly."""
        mesh, line = self.laboratory.mesh, self.line
        told = ["--role=peer", "--mode=tun", f"--join={mesh.coordinator.invite(uses=2)}"]
        if self.bulk:
            told.append(f"--bulk={self.bulk}")
        self.peers: list[Peer] = []
        for host, kind in (line.near, self.near_peer), (line.far, Peer):
            peer = kind(host, host.name, mesh.folder, [*told, f"--name={host.name}"], {})
            peer.start()
            assert peer.process is not None
            self.peers.append(peer)
            self.programs.append(peer.process)
            self.logs.append(peer.log)
        wait_until(self.direct, f"{self.name} to find the direct path")
        near, far = self.peers
        self.near, self.far = near.address, far.address

    def direct(self) -> bool:
        """Whether both ends use UDP."""
        near, far = self.peers
        return near.path_to(far.name) == "udp" == far.path_to(near.name)


class Segments(TunnelMesh):
    """Each segment sealed alone."""

    name = "tunnelmesh-segments"
    bulk = "segments"


class Packets(TunnelMesh):
    """WireGuard's own packets, as for a stock peer."""

    name = "tunnelmesh-packets"
    bulk = "packets"
