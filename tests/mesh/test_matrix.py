"""Everybody reaches everybody: real peers behind real NATs of every kind, in one mesh."""

from __future__ import annotations

import json
import subprocess
from itertools import combinations

from tests.mesh.meshes import PATIENCE, RELAYED, MeshTestCase
from tunnelmesh.lab.kernel import connectable, guessable, punchable
from tunnelmesh.lab.kernel.mesh import Peer

TWICE = ("open", "full-cone", "restricted-cone", "port-restricted", "symmetric")
"""Kinds of which there are two sites, so that each meets its own kind as well."""

ONCE = ("udp-blocked", "web-only", "proxy-only", "proxy-auth")

Direct = tuple[str, str, str]
"""Two hosts by name, the lesser first, and what their path is made of."""

LEAST = 1e6
"""Bits a second that the slowest way carries even on a busy machine."""


class MatrixTests(MeshTestCase):
    """All pairs of kinds, a LAN, and a carrier's NAT."""

    def test_every_pair(self) -> None:
        """Each pair pings by the best way its NATs allow, and whole flows get through."""
        self.build()
        hosts = [host for site in self.world.sites.values() for host in site.hosts]
        self.peers = {peer.name: peer for peer in self.join(hosts)}
        surely, perhaps = self.possible()
        self.until(lambda: self.direct() >= surely, "direct paths between all that can punch")
        self.check_pings()
        direct = self.direct()
        self.assertEqual(direct & surely, surely)
        # Of those that may be, one end can be a moment ahead of the other.
        others = {(*sorted(pair), kind) for *pair, kind in direct - surely}
        self.assertEqual(others - perhaps, set())
        for client, server in (("port-restricted", "full-cone"), ("symmetric", "proxy-auth")):
            self.fetch(self.peers[client], self.peers[server])
            rate = self.measure(self.peers[client], self.peers[server])
            self.assertGreater(rate, LEAST, f"{client} to {server}")

    def build(self) -> None:
        """The sites, with one host each, but for one that has two."""
        for kind in (*TWICE, *ONCE):
            self.world.add_site(f"at-{kind}", kind).add_host(kind)
        for kind in TWICE:
            self.world.add_site(f"at-{kind}-2", kind).add_host(f"{kind}-2")
        self.world.sites["at-port-restricted"].add_host("neighbour")
        carrier = self.world.add_site("carrier", "full-cone", hairpin=True)
        for name in ("customer", "customer-2"):
            self.world.add_site(f"at-{name}", "port-restricted", behind=carrier).add_host(name)

    def possible(self) -> tuple[set[Direct], set[Direct]]:
        """The pairs that are to be on a direct path, each with what it is made of; and those that
        may be. These take guessing, or time until UDP is known to be blocked, and have tests of
        their own, on machines that do nothing else."""
        kinds = {host.name: site.kind for site in self.world.sites.values() for host in site.hosts}
        surely, perhaps = set(), set()
        for one, other in combinations(sorted(kinds), 2):
            if punchable(kinds[one], kinds[other]):
                surely.add((one, other, "udp"))
            elif guessable(kinds[one], kinds[other]):
                perhaps.add((one, other, "udp"))
            elif connectable(kinds[one], kinds[other]):
                perhaps.add((one, other, "tcp"))
        return surely, perhaps

    def direct(self) -> set[Direct]:
        """The pairs that are, by the word of both ends; one end alone is shown as it says."""
        said = {
            (name, other): path
            for name, peer in self.peers.items()
            for other, path in peer.paths().items()
            if path in ("udp", "tcp")
        }
        return {(a, b, path) for (a, b), path in said.items() if a < b or said.get((b, a)) != path}

    def check_pings(self) -> None:
        """Each pings each."""
        addresses = {name: peer.address for name, peer in self.peers.items()}
        for name, peer in self.peers.items():
            others = [address for other, address in addresses.items() if other > name]
            self.assertEqual(self.ping(peer.host, others), [], f"from {name}")
            self.assertLessEqual(set(peer.paths().values()), {"udp", "tcp", *RELAYED}, name)

    def measure(self, client: Peer, server: Peer) -> float:
        """Bits a second of a TCP flow through the mesh, as it arrives."""
        listen = ["iperf3", "--server", "--one-off", "--forceflush"]
        serving = server.host.popen(listen, stdout=subprocess.PIPE, text=True)
        with serving.stdout:
            while "listening" not in serving.stdout.readline():
                self.assertIsNone(serving.poll(), "iperf3 has ended")
            send = ["iperf3", "--client", server.address, "--time=2", "--json"]
            report = json.loads(client.host.run(send, timeout=PATIENCE).stdout)
            serving.wait(PATIENCE)
        return float(report["end"]["sum_received"]["bits_per_second"])
