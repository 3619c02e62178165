"""Paths that do not carry what the device takes, with real kernels."""

from __future__ import annotations

from typing import Any

from bench.traffic import Stream
from tests.mesh.meshes import MeshTestCase
from tunnelmesh.lab.kernel import Site
from tunnelmesh.lab.kernel.mesh import Peer, wait_until
from tunnelmesh.lab.kernel.namespaces import ip, nft
from tunnelmesh.paths.path_mtu import STEP
from tunnelmesh.peer.pair.carrier import OVERHEAD

HEADERS4 = 28
HEADERS6 = 48
"""Bytes of IP and UDP headers."""

BLACK_HOLE = """
table inet narrow {{
    chain passing {{
        type filter hook forward priority 0;
        meta l4proto udp meta length > {longest} drop
        icmp type destination-unreachable drop
        icmpv6 type packet-too-big drop
    }}
}}
"""
"""A router that loses long datagrams and lets nobody say so."""

ENOUGH = 2_000_000
"""Bytes of a stream that count as some."""

GOES_ON = 5.0
"""Seconds within which a stream goes on: one, and what a busy machine adds."""


def carried(packet: int, headers: int) -> int:
    """Bytes of the longest packet inside the tunnel over a line that takes *packet* bytes."""
    return (packet - headers) // STEP * STEP - OVERHEAD


class MtuTests(MeshTestCase):
    """A stream arrives whole, over lines of any width."""

    def join_over(self, kind: str, setting: str, **options: Any) -> tuple[Site, Peer, Peer]:
        """Two peers with a direct path, over a line that was set before; and whose line it is."""
        home, office = (self.world.add_site(name, kind, **options) for name in ("home", "office"))
        self.line(office, setting)
        laptop, server = self.join([home.add_host("laptop"), office.add_host("server")])
        self.until(lambda: laptop.path_to("server") == "udp" == server.path_to("laptop"), "UDP")
        return office, laptop, server

    def line(self, site: Site, setting: str) -> None:
        """Set something about a site's line, at both ends."""
        cable = site.uplink
        ends = (cable.namespace, cable.device), (cable.segment.namespace, cable.port)
        for namespace, device in ends:
            ip([f"link set dev {device} {setting}"], namespace)

    def path(self, by: Peer) -> dict[str, Any]:
        """What a peer tells of its path to the only other."""
        (told,) = by.status()["peers"]
        path: dict[str, Any] = told["path"]
        return path

    def goes_on(self, stream: Stream) -> None:
        """More of a stream arrives soon."""
        begun = stream.received()
        wait_until(lambda: stream.received() > begun + ENOUGH, "more of the stream", GOES_ON)

    def settles(self, by: Peer, to: Peer, mtu: int) -> None:
        """What the path carries is found, and the kernel has heard of it."""
        self.until(lambda: self.path(by)["mtu"] == mtu, f"an MTU of {mtu}")
        route = ["ip", "route", "get", to.address]
        self.until(lambda: f"mtu {mtu} " in by.host.run(route).stdout, f"a route's MTU of {mtu}")

    def test_narrow_line(self) -> None:
        """Over a line of 1280 bytes the path is direct."""
        _, laptop, server = self.join_over("port-restricted", "mtu 1280")
        stream = Stream(server.host, server.address, laptop.host, self.world.folder / "progress")
        self.goes_on(stream)
        self.settles(laptop, server, carried(1280, HEADERS4))
        self.goes_on(stream)
        delivery = stream.finish()
        self.assertTrue(delivery.whole, delivery)
        self.assertEqual(self.path(laptop)["kind"], "udp")

    def test_black_hole(self) -> None:
        """Over IPv6 and PPPoE; in the middle of a stream long datagrams begin to get lost, and
        nothing says so: the stream goes on, directly."""
        office, laptop, server = self.join_over("symmetric", "mtu 1492", ipv6=True)
        stream = Stream(server.host, server.address, laptop.host, self.world.folder / "progress")
        self.goes_on(stream)
        self.settles(laptop, server, carried(1492, HEADERS6))
        self.line(office, "gso_max_segs 1")  # else 64 KB pass the router as one, and as too long
        nft(BLACK_HOLE.format(longest=1300), office.namespace)
        self.goes_on(stream)
        self.settles(laptop, server, carried(1300, HEADERS6))
        self.goes_on(stream)
        delivery = stream.finish()
        self.assertTrue(delivery.whole, delivery)
        self.assertEqual(self.path(laptop)["kind"], "udp")
        history = laptop.ask("history", peer="server")
        self.assertTrue([change for change in history if "bytes are lost" in change["cause"]])
