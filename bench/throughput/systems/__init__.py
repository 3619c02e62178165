"""The tunnels that are compared."""

from bench.throughput.systems.system import Raw, System
from bench.throughput.systems.tunnelmesh import Packets, Segments, TunnelMesh
from bench.throughput.systems.wireguard_go import WireguardGo

SYSTEMS: dict[str, type[System]] = {
    each.name: each for each in (Raw, TunnelMesh, Segments, Packets, WireguardGo)
}
"""By name, in the order in which they take turns."""
