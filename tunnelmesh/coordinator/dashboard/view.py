"""What a dashboard shows: a row for each peer, a row for each pair with a path, and what happened.

A page is sent all of it once, and then what has changed: the same object, with fewer keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Network
from typing import Any

from tunnelmesh.coordinator.dashboard.history import History
from tunnelmesh.coordinator.reports import Path, Reports
from tunnelmesh.coordinator.store import Member
from tunnelmesh.identity import fingerprint, mesh_address6

Row = dict[str, Any]
Pair = tuple[IPv4Address, IPv4Address]

STALE = 2.5
"""Reports that a path may miss before it counts as idle: an idle path is not reported at all."""

RANK = ("websocket", "ssh", "tcp", "udp")
"""Kinds of path, the worst first: where the two ends differ, the pair is as badly off as either."""


class View:
    """The rows, and how they have changed.

    :param members: every member.
    :param network6: the mesh's network of IPv6.
    :param seconds: the reactor's clock, by which reports are dated.
    """

    def __init__(
        self,
        members: Callable[[], Iterable[Member]],
        network6: IPv6Network,
        reports: Reports,
        history: History,
        seconds: Callable[[], float],
        unix_time: Callable[[], float],
    ) -> None:
        self._members = members
        self._network6 = network6
        self._reports = reports
        self._history = history
        self._seconds = seconds
        self._unix_time = unix_time
        self._known: dict[IPv4Address, Member] = {}
        self._fixed: dict[IPv4Address, tuple[Member, Row]] = {}
        self._peers: dict[str, Row] = {}
        self._paths: dict[str, Row] = {}
        self._busy: set[Pair] = set()
        self._touched: set[Pair] = set()
        self._number = 0

    def touch(self, teller: IPv4Address, other: IPv4Address) -> None:
        """Something was told of the path between two members."""
        self._touched.add((teller, other) if teller < other else (other, teller))

    def is_member(self, address: IPv4Address) -> bool:
        """Whether somebody has, or had when last looked at, that mesh address."""
        return address in self._known

    def clear(self) -> None:
        """Nobody looks any more: what is known will not be true for long."""
        self._known.clear()
        self._fixed.clear()
        self._peers = {}
        self._paths.clear()
        self._busy.clear()
        self._touched.clear()

    def whole(self) -> Row:
        """All that there is to see, as of the last :meth:`news`."""
        changes, _ = self._history.since(0)
        return {
            "whole": True,
            "now": self._unix_time(),
            "peers": self._peers,
            "paths": self._paths,
            "changes": changes,
        }

    def news(self) -> Row | None:
        """What has changed since the last call, if anything; a row that is gone is None."""
        peers = self._look_at_peers()
        paths = self._look_at_paths()
        changes, self._number = self._history.since(self._number)
        if not (peers or paths or changes):
            return None
        return {"now": self._unix_time(), "peers": peers, "paths": paths, "changes": changes}

    def _look_at_peers(self) -> dict[str, Row | None]:
        before = self._known
        self._known = {member.address: member for member in self._members()}
        rows = {str(address): self._peer(member) for address, member in self._known.items()}
        news: dict[str, Row | None] = {
            key: row for key, row in rows.items() if row != self._peers.get(key)
        }
        for key in self._peers.keys() - rows.keys():
            news[key] = None
            address = IPv4Address(key)
            self._fixed.pop(address, None)
            self._reports.forget(address)
            self._history.record("gone", before[address])
        self._peers = rows
        return news

    def _peer(self, member: Member) -> Row:
        kept = self._fixed.get(member.address)
        if kept is None or kept[0] != member:
            kept = self._fixed[member.address] = (member, _fixed(member, self._network6))
        row = dict(kept[1])
        presence = self._reports.present.get(member.address)
        row["online"] = presence is not None
        if presence is None:
            row["seen"] = member.seen or None
            return row
        row["link"] = presence.link.kind
        row["from"] = presence.link.remote
        row["rtt"] = round(presence.rtt * 1000, 1) if presence.lines[-1].samples else None
        described = presence.description
        if described is not None:
            row["nat"] = described.flavour
            row["mapping"] = described.mapping
            row["filtering"] = described.filtering
            row["external"] = None if described.external is None else str(described.external)
            row["proxied"] = described.proxied
            row["relayOnly"] = described.relay_only
        return row

    def _look_at_paths(self) -> dict[str, Row | None]:
        looked_at, self._touched = self._touched | self._busy, set()
        horizon = self._seconds() - STALE * self._reports.every
        news: dict[str, Row | None] = {}
        for pair in looked_at:
            key = f"{pair[0]} {pair[1]}"
            before, row = self._paths.get(key), self._path(pair, horizon)
            if row == before:
                continue
            news[key] = row
            if row is None:
                del self._paths[key]
                self._busy.discard(pair)
                continue
            self._paths[key] = row
            if any(row["rates"]):
                self._busy.add(pair)
            else:
                self._busy.discard(pair)
            if before is not None and before["kind"] != row["kind"]:
                self._record(pair, before["kind"], row["kind"])
        return news

    def _path(self, pair: Pair, horizon: float) -> Row | None:
        one, other = pair
        if one not in self._known or other not in self._known:
            return None
        ends = self._told(one, other), self._told(other, one)
        kinds = [end.kind if end else "" for end in ends]
        if not any(kinds):
            return None
        told = [end for end in ends if end]
        known = [end.rtt for end in told if end.rtt > 0]
        return {
            "kind": min(filter(None, kinds), key=RANK.index),
            "kinds": kinds,
            "rtt": round(min(known) * 1000, 1) if known else None,
            "rates": [_there(ends, horizon), _there(ends[::-1], horizon)],
            "bytes": [_sent(*ends), _sent(*ends[::-1])],
        }

    def _told(self, teller: IPv4Address, other: IPv4Address) -> Path | None:
        return self._reports.paths.get(teller, {}).get(other)

    def _record(self, pair: Pair, before: str, after: str) -> None:
        one, other = (self._known[address] for address in pair)
        more = {"other": str(other.address), "otherName": other.name}
        self._history.record("path", one, before=before, after=after, **more)


def _fixed(member: Member, network6: IPv6Network) -> Row:
    return {
        "name": member.name,
        "address6": str(mesh_address6(network6, member.key)),
        "fingerprint": fingerprint(member.key),
        "enrolled": member.enrolled,
        "userspace": member.userspace,
    }


def _there(ends: tuple[Path | None, ...], horizon: float) -> int:
    """Bytes per second from the first end to the second, to three digits, which is what is shown.

    Either may be one that does not report, or has not yet.
    """
    one, other = ends
    sending = one.sending if one and one.at >= horizon else 0.0
    receiving = other.receiving if other and other.at >= horizon else 0.0
    return int(float(f"{max(sending, receiving):.3g}"))


def _sent(one: Path | None, other: Path | None) -> int:
    return max(one.sent if one else 0, other.received if other else 0)
