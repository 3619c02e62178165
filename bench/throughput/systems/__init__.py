"""The tunnels that are compared."""

from bench.throughput.systems.easytier import EasyTier
from bench.throughput.systems.nebula import Nebula
from bench.throughput.systems.openvpn import OpenVPN
from bench.throughput.systems.system import Raw, System
from bench.throughput.systems.tinc import Tinc
from bench.throughput.systems.tunnelmesh import Packets, Segments, TunnelMesh
from bench.throughput.systems.wireguard_go import WireguardGo

SYSTEMS: dict[str, type[System]] = {
    each.name: each
    for each in (
        Raw,
        TunnelMesh,
        Segments,
        Packets,
        WireguardGo,
        Nebula,
        Tinc,
        OpenVPN,
        EasyTier,
    )
}
"""By name, in the order in which they take turns."""

FETCHED = (WireguardGo, EasyTier)
"""Those that ``--fetch`` gets."""
