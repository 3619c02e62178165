"""What becomes of a status."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tests.peer.world import WorldTestCase, node
from tunnelmesh.metrics.build import text
from tunnelmesh.metrics.coordinator import CoordinatorMetrics
from tunnelmesh.metrics.peer import MOST_PEERS, PeerMetrics
from tunnelmesh.peer.answers.status import status

ROOT = Path(__file__).parent.parent.parent

COORDINATOR = {
    "peers": [
        {"name": "a", "online": True, "link": "ssh", "flavour": "symmetric"},
        {"name": "b", "online": True, "link": "ssh", "flavour": "symmetric"},
        {"name": "c", "online": True, "link": "websocket", "flavour": "made-up"},
        {"name": "d", "online": False, "link": None, "flavour": "unknown"},
    ],
    "relay": {"frames": 10, "bytes": 2000, "dropped": 3},
    "signals": {"malformed": 1, "unknown": 2, "sign_ins_refused": 4},
}


def samples(page: bytes) -> dict[tuple[str, ...], float]:
    """Each sample by its name and its labels' values, in the order of the labels' names."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


class PeerTests(WorldTestCase):
    """Of a peer that has met another."""

    def setUp(self) -> None:
        """Let them meet."""
        super().setUp()
        here, _ = self.pair()
        self.status: dict[str, Any] = status(node(here))

    def test_numbers(self) -> None:
        """The numbers are the status's, in seconds and bytes."""
        [peer] = self.status["peers"]
        found = samples(text(PeerMetrics(self.status, 1000.0)))
        self.assertEqual(found["tunnelmesh_build_info", "peer", version("tunnelmesh")], 1)
        self.assertEqual(found["tunnelmesh_coordinator_linked", "ssh"], 1)
        self.assertEqual(found["tunnelmesh_coordinator_linked", "websocket"], 0)
        self.assertEqual(found["tunnelmesh_peer_path_info", "udp", "there"], 1)
        rtt = found["tunnelmesh_peer_path_rtt_seconds", "udp", "there"]
        self.assertAlmostEqual(rtt, peer["path"]["rtt_ms"] / 1000)
        self.assertEqual(found["tunnelmesh_peer_received_bytes_total", "there"], peer["rx_bytes"])
        self.assertEqual(found["tunnelmesh_path_changes_total", "there"], peer["changes"])
        self.assertGreater(peer["changes"], 0)
        self.assertEqual(found["tunnelmesh_peer_handshakes_total", "there"], 1)
        at = found["tunnelmesh_peer_last_handshake_timestamp_seconds", "there"]
        self.assertAlmostEqual(at, 1000 - peer["handshake_age_s"])

    def test_without_path_or_link(self) -> None:
        """What is not there has no number."""
        [peer] = self.status["peers"]
        peer["path"] |= {"kind": None, "rtt_ms": None}
        peer["handshake_age_s"] = None
        self.status["coordinator"] |= {"link": None, "rtt_ms": None}
        found = samples(text(PeerMetrics(self.status, 1000.0)))
        self.assertEqual(found["tunnelmesh_peer_path_info", "none", "there"], 1)
        self.assertEqual(found["tunnelmesh_coordinator_linked", "ssh"], 0)
        self.assertNotIn(("tunnelmesh_coordinator_rtt_seconds",), found)

    def test_bounded(self) -> None:
        """In a large mesh the busiest peers have series, and no others."""
        [peer] = self.status["peers"]
        many = [peer | {"name": f"p{n}", "rx_bytes": n} for n in range(MOST_PEERS + 100)]
        self.status["peers"] = many
        found = samples(text(PeerMetrics(self.status, 1000.0)))
        named = [key for key in found if key[0] == "tunnelmesh_peer_received_bytes_total"]
        self.assertEqual(len(named), MOST_PEERS)
        self.assertIn((named[0][0], f"p{MOST_PEERS + 99}"), named)
        self.assertEqual(found["tunnelmesh_peers",], MOST_PEERS + 100)

    def test_documents(self) -> None:
        """What the dashboard, the rules and the how-to name exists, and all that is is told."""
        pages = text(PeerMetrics(self.status, 0.0)) + text(CoordinatorMetrics(COORDINATOR))
        known = set()
        for line in pages.decode().splitlines():
            if line.startswith("# TYPE "):
                known.add(line.split()[2])
        dashboard = (ROOT / "docs" / "grafana" / "tunnelmesh.json").read_text()
        how_to = (ROOT / "docs" / "howto" / "metrics.md").read_text()
        pattern = r"\b(?:tunnelmesh|process)_[a-z_]+[a-z]\b"
        shown = [t["expr"] for p in json.loads(dashboard)["panels"] for t in p["targets"]]
        named = {name for expr in shown for name in re.findall(pattern, expr)}
        self.assertGreater(len(named), 12)
        self.assertEqual(named - known, set())
        told = set(re.findall(pattern, how_to))
        self.assertEqual(told - known, set())
        ours = {name for name in known if name.startswith("tunnelmesh_")}
        self.assertEqual(ours - told, set())


class CoordinatorTests(SynchronousTestCase):
    """Of a coordinator."""

    def test_numbers(self) -> None:
        """Members are counted by link and NAT; what one makes up of its NAT is no label."""
        found = samples(text(CoordinatorMetrics(COORDINATOR)))
        self.assertEqual(found["tunnelmesh_members",], 4)
        self.assertEqual(found["tunnelmesh_members_online", "symmetric", "ssh"], 2)
        self.assertEqual(found["tunnelmesh_members_online", "unknown", "websocket"], 1)
        self.assertEqual(found["tunnelmesh_relay_bytes_total",], 2000)
        self.assertEqual(found["tunnelmesh_signals_rejected_total", "sign_ins_refused"], 4)
        self.assertFalse([key for key in found if "made-up" in key])
