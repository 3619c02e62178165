"""A peer's metrics, made from its status.

Names and units by https://prometheus.io/docs/practices/naming: seconds and bytes, ``_total`` for
what only grows, ``_info`` for words in labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import Metric

from tunnelmesh.metrics.build import build_info

MOST_PEERS = 500
"""Peers that have series of their own, the busiest ones: each costs Prometheus some kilobytes for
every series, and a mesh can have tens of thousands."""

_PER_PEER: tuple[tuple[type[Counter | Gauge], str, str, str], ...] = (
    (Counter, "peer_received_bytes", "rx_bytes", "Bytes received from a peer in the tunnel"),
    (Counter, "peer_sent_bytes", "tx_bytes", "Bytes sent to a peer in the tunnel"),
    (Counter, "peer_handshakes", "handshakes", "Handshakes completed with a peer"),
    (Counter, "path_changes", "changes", "Changes of the path to a peer"),
    (Counter, "path_outage_seconds", "outage_s", "Silence around changes of path, under traffic"),
    (Counter, "punch_attempts", "attempts", "Attempts to open a direct path to a peer"),
    (Counter, "punch_probes", "probes", "Probes sent to open a direct path to a peer"),
    (Gauge, "peer_online", "online", "Whether the coordinator says that a peer is online"),
)
"""Of what there is one series a peer: its name, its key in the status, and what it is."""


class PeerMetrics:
    """A collector for one scrape.

    :param status: what ``tunnelmesh status --json`` prints.
    :param unix_time: seconds since the epoch, when that was so.
    """

    def __init__(self, status: dict[str, Any], unix_time: float) -> None:
        self._status = status
        self._now = unix_time
        busiest = sorted(status["peers"], key=lambda p: (-p["rx_bytes"] - p["tx_bytes"], p["name"]))
        self._peers = sorted(busiest[:MOST_PEERS], key=lambda peer: str(peer["name"]))

    def collect(self) -> Iterator[Metric]:
        """Everything."""
        yield build_info("peer")
        yield from self._machine()
        yield from self._paths()
        for kind, name, key, help in _PER_PEER:
            family = kind(f"tunnelmesh_{name}", help, labels=["peer"])
            for peer in self._peers:
                family.add_metric([peer["name"]], float(peer[key]))
            yield family
        yield self._handshakes()

    def _machine(self) -> Iterator[Metric]:
        status = self._status
        coordinator, nat = status["coordinator"], status["nat"]
        linked = Gauge(
            "tunnelmesh_coordinator_linked",
            "Whether there is a link to the coordinator, by what carries it",
            labels=["link"],
        )
        for link in ("ssh", "websocket"):
            linked.add_metric([link], coordinator["link"] == link)
        yield linked
        rtt = Gauge("tunnelmesh_coordinator_rtt_seconds", "Round trip to the coordinator")
        if coordinator["rtt_ms"] is not None:
            rtt.add_metric([], coordinator["rtt_ms"] / 1000)
        yield rtt
        words = ["flavour", "mapping", "filtering"]
        info = Gauge("tunnelmesh_nat_info", "The NAT in front of this machine", labels=words)
        info.add_metric([nat[word] for word in words], 1)
        yield info
        members = Gauge("tunnelmesh_peers", "Peers in the mesh")
        members.add_metric([], len(status["peers"]))
        yield members
        for name, key, help in (
            ("dropped_packets", "dropped", "Packets and datagrams dropped by the peer, by reason"),
            ("tunnel_rejected_messages", "tunnel", "Messages that the tunnel rejected, by reason"),
        ):
            dropped = Counter(f"tunnelmesh_{name}", help, labels=["reason"])
            for reason, count in sorted(status[key].items()):
                dropped.add_metric([reason.replace(" ", "_")], count)
            yield dropped

    def _paths(self) -> Iterator[Metric]:
        labels = ["peer", "kind"]
        info = Gauge("tunnelmesh_peer_path_info", "The path to a peer, or none", labels=labels)
        rtt = Gauge(
            "tunnelmesh_peer_path_rtt_seconds", "Round trip of the path to a peer", labels=labels
        )
        for peer in self._peers:
            path = peer["path"]
            kind = path["kind"] or "none"
            info.add_metric([peer["name"], kind], 1)
            if path["rtt_ms"] is not None:
                rtt.add_metric([peer["name"], kind], path["rtt_ms"] / 1000)
        yield info
        yield rtt

    def _handshakes(self) -> Metric:
        at = Gauge(
            "tunnelmesh_peer_last_handshake_timestamp_seconds",
            "When the last handshake with a peer was completed",
            labels=["peer"],
        )
        for peer in self._peers:
            if peer["handshake_age_s"] is not None:
                at.add_metric([peer["name"]], self._now - peer["handshake_age_s"])
        return at
