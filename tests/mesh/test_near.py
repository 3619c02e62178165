"""The shortest way there is: over the LAN, within a carrier's network, over IPv6."""

from __future__ import annotations

from tests.mesh.meshes import RELAYED, MeshTestCase
from tunnelmesh.lab.kernel import Host
from tunnelmesh.lab.kernel.mesh import Peer


class NearTests(MeshTestCase):
    """Pairs that have something in common, in one mesh."""

    def test_short_ways(self) -> None:
        """Each pair takes the best way that it has, and a whole flow gets through it."""
        lan = self.lan()
        carried, hidden = self.carrier()
        dual = self.dual_stack()
        peers = {peer.name: peer for peer in self.join([*lan, *carried, *hidden, *dual])}
        wanted = {host.name: host.address for host in (*lan, *carried)}
        wanted |= {host.name: host.addresses6[0] for host in dual}
        for pair in (lan, carried, dual):
            for here, there in (pair, pair[::-1]):
                self.until(
                    lambda here=here, there=there: (
                        self.address_of(peers[here.name], there) == wanted[there.name]
                    ),
                    f"{here.name} to reach {there.name} at {wanted[there.name]}",
                )
        for host in dual:
            seen = peers[host.name].status()["nat"]["external6"]
            self.assertTrue(seen.startswith(f"[{host.addresses6[0]}]:"), seen)
        one, other = (peers[host.name] for host in hidden)
        self.assertIn(one.path_to(other.name), RELAYED)
        self.assertEqual(self.ping(one.host, [other.address]), [])
        for pair in (lan, dual):
            self.fetch(*(peers[host.name] for host in pair), size=20_000_000)
        self.assertEqual(self.address_of(peers["dual-0"], dual[1]), wanted["dual-1"])

    def lan(self) -> list[Host]:
        """Two hosts of one LAN, whose gateway is of no help."""
        home = self.world.add_site("home", "symmetric")
        return [home.add_host(f"lan-{n}") for n in range(2)]

    def carrier(self) -> tuple[list[Host], list[Host]]:
        """Two phones in a carrier's own network, and two homes behind NATs there: no hairpin."""
        carrier = self.world.add_site("carrier", "port-restricted", network="100.64.0.0/24")
        homes = [self.world.add_site(f"home-{n}", "linux", behind=carrier) for n in range(2)]
        phones = [carrier.add_host(f"phone-{n}") for n in range(2)]
        return phones, [home.add_host(f"hidden-{n}") for n, home in enumerate(homes)]

    def dual_stack(self) -> list[Host]:
        """Two hosts with the hardest IPv4 NATs, and firewalls for IPv6."""
        sites = [self.world.add_site(f"office-{n}", "dual-stack") for n in range(2)]
        return [site.add_host(f"dual-{n}") for n, site in enumerate(sites)]

    def address_of(self, here: Peer, there: Host) -> str | None:
        """At which address a peer reaches another directly."""
        for each in here.status().get("peers", ()):
            if each["name"] == there.name and each["path"]["kind"] == "udp":
                return str(each["path"]["remote"]).rpartition(":")[0].strip("[]")
        return None
