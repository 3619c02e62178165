"""Hard NATs, on real ones: direct by guessing ports, and not a packet where that is in vain."""

from __future__ import annotations

from itertools import combinations
from subprocess import DEVNULL

from bench.hard_cells import keep_busy
from tests.mesh.meshes import RELAYED, MeshTestCase
from tunnelmesh.lab.kernel import guessable, punchable
from tunnelmesh.lab.kernel.mesh import Peer

SITES = {
    "random": "symmetric",
    "random-2": "symmetric",
    "counts": "symmetric-sequential",
    "busy": "symmetric-sequential",
    "router": "linux",
    "campus": "firewall",
}


class HardTests(MeshTestCase):
    """One mesh of machines behind NATs that most systems relay."""

    def test_every_pair(self) -> None:
        """Every pair whose ports can be guessed is direct; the others are relayed for nothing."""
        sites = {name: self.world.add_site(f"at-{name}", kind) for name, kind in SITES.items()}
        keep_busy(sites["busy"], self.world.coordinator.address)
        hosts = [site.add_host(name) for name, site in sites.items()]
        peers = {peer.name: peer for peer in self.join(hosts)}
        for one, other in combinations(peers.values(), 2):
            one.host.popen(["ping", "-q", "-i0.5", other.address], stdout=DEVNULL)
        kinds = {name: site.kind for name, site in sites.items()}
        wanted = {
            frozenset(pair)
            for pair in combinations(kinds, 2)
            if any(way(*(kinds[name] for name in pair)) for way in (punchable, guessable))
        }
        self.assertEqual(len(wanted), 10)
        self.until(lambda: direct(peers) == wanted, "direct paths between all that can guess")
        for one, other in combinations(peers, 2):
            spent = guessing(peers[one], other), guessing(peers[other], one)
            if frozenset((one, other)) not in wanted:
                self.assertEqual(spent, (0, 0), f"{one} and {other}")
                self.assertIn(peers[one].path_to(other), RELAYED)
                self.assertIn("symmetric NAT", peers[one].ask("explain", peer=other)["summary"])
            self.assertLessEqual(max(spent), 2 * 2000, f"{one} and {other}")


def direct(peers: dict[str, Peer]) -> set[frozenset[str]]:
    """The pairs that are on a direct path at both ends."""
    paths = {name: peer.paths() for name, peer in peers.items()}
    return {
        frozenset((one, other))
        for one, other in combinations(peers, 2)
        if paths[one].get(other) == paths[other].get(one) == "udp"
    }


def guessing(peer: Peer, name: str) -> int:
    """Probes that a peer sent to guess another's ports."""
    (told,) = [each for each in peer.status()["peers"] if each["name"] == name]
    return int(told["guessing"]["probes"])
