"""What the peer tells people and programs about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunnelmesh.identity import fingerprint
from tunnelmesh.nat.allocation import in_words
from tunnelmesh.nat.tactics import Approach

if TYPE_CHECKING:
    from tunnelmesh.peer.node import Node
    from tunnelmesh.peer.pair.remote import Remote


def milliseconds(seconds: float | None) -> float | None:
    """For people: thousandths, with microseconds after the point."""
    return None if seconds is None else round(seconds * 1000, 3)


def status(node: Node) -> dict[str, Any]:
    """The object that ``tunnelmesh status --json`` prints."""
    now = node.now()
    behaviour, external6 = node.network.behaviour, node.network.external6
    members = node.mesh.members
    link = node.link
    session = link.session
    return {
        "role": "peer",
        "name": node.membership.name,
        "address": str(node.membership.address),
        "address6": str(node.interface6.ip),
        "fingerprint": node.identity.fingerprint,
        "mode": node.mode,
        "listen": dict(node.proxies.listen),
        "restricted": node.mesh.access.restricted,
        "names": node.naming.status(),
        "nat": {
            "flavour": str(behaviour.flavour),
            "mapping": str(behaviour.mapping),
            "filtering": str(behaviour.filtering),
            "external": None if behaviour.external is None else str(behaviour.external),
            "ports": in_words(behaviour.allocation),
            "external6": None if external6 is None else str(external6),
            "forwards": node.forwards.described(),
        },
        "coordinator": {
            "host": node.membership.host,
            "link": None if link.route is None else link.route.kind,
            "proxy": None if session is None or session.link is None else session.link.proxy,
            "rtt_ms": milliseconds(link.rtt),
            "failures": dict(link.failures),
        },
        "peers": [
            remote_status(remote, now) for _, remote in sorted(node.mesh.members.remotes.items())
        ],
        "refused": dict(members.refused),
        "dropped": dict(node.mesh.dropped),
        "tunnel": node.tunnel_counters,
    }


def metrics(node: Node) -> bytes:
    """The same in Prometheus' text format."""
    from tunnelmesh.metrics.build import text
    from tunnelmesh.metrics.peer import PeerMetrics

    return text(PeerMetrics(status(node), node.unix_time()))


def remote_status(remote: Remote, now: float) -> dict[str, Any]:
    """One remote peer's part of it."""
    kind = remote.path_kind
    health = remote.ladder.health
    leads_to = remote.path_remote
    shown = health if kind is not None else None
    handshake_at, met_at = remote.tunnel.handshake_at, remote.pursuit.met_at
    return {
        "name": remote.name,
        "address": str(remote.address),
        "address6": str(remote.address6),
        "fingerprint": fingerprint(remote.key),
        "online": remote.online,
        "last_seen": remote.seen or None,
        "mode": "userspace" if remote.userspace else "tun",
        "path": {
            "kind": kind,
            "remote": None if leads_to is None else str(leads_to),
            "rtt_ms": None if shown is None else milliseconds(shown.rtt),
            "since_s": round(now - remote.since, 3),
            "mtu": remote.path_mtu,
        },
        "rx_bytes": remote.tunnel.rx_bytes,
        "tx_bytes": remote.tunnel.tx_bytes,
        "handshake_age_s": None if handshake_at is None else round(now - handshake_at, 3),
        "handshakes": remote.tunnel.handshakes,
        "changes": remote.history.recorded,
        "outage_s": round(remote.history.silent, 3),
        "attempts": remote.pursuit.attempts,
        "probes": remote.pursuit.probes,
        "guessing": guessing(remote),
        "candidates_left_out": remote.pursuit.left_out,
        "signalled_s": None if met_at is None else round(now - met_at, 3),
    }


def guessing(remote: Remote) -> dict[str, Any]:
    """What was done to guess a peer's ports, or for the peer to guess ours.

    :returns: packets sent in all, and those of them to or from random ports; how the last attempt
        went about it, and what came of it.
    """
    hard = remote.pursuit.hard
    return {
        "probes": hard.probes(),
        "birthday_probes": hard.probes(Approach.BIRTHDAY),
        "style": None if hard.last is None else hard.last.tactic.style,
        "outcome": None if hard.last is None else hard.last.outcome,
    }


def history(remote: Remote, now: float, unix_time: float) -> list[dict[str, Any]]:
    """Every change of a remote peer's path, oldest first."""
    return [
        {
            "at": round(unix_time - (now - change.at), 3),
            "from": change.before,
            "to": change.after,
            "cause": change.cause,
            "outage_ms": None if change.outage is None else round(change.outage * 1000),
        }
        for change in remote.history.changes
    ]
