"""What is known at one moment of the story."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tunnelmesh.lab.demo.stage import Machine, Transfer
from tunnelmesh.lab.kernel import KINDS

LINKS = {"ssh": "SSH", "websocket": "WebSocket"}
"""What a link or a relayed path is made of, for people."""

_BEHIND = {
    "open": "on a public address, without NAT",
    "firewall": "on a public address, behind a firewall",
    "udp-blocked": "behind a NAT that drops all UDP",
    "web-only": "behind a NAT that lets only web ports through",
    "proxy-only": "where the only way out is an HTTP proxy",
    "proxy-auth": "where the only way out is an HTTP proxy with a password",
}


@dataclass
class Side:
    """One of the two machines.

    :ivar status: what its peer said last; empty before it has joined.
    """

    machine: Machine
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def behind(self) -> str:
        """What stands between it and the internet, in words."""
        kind = self.machine.kind
        return _BEHIND.get(kind, f"behind a {kind} NAT ({KINDS[kind].life})")

    @property
    def address(self) -> str:
        """Its mesh address; empty before it has joined."""
        return str(self.status.get("address", ""))

    @property
    def flavour(self) -> str:
        """What it has found its NAT to be."""
        return str(self.status.get("nat", {}).get("flavour", "unknown"))

    @property
    def link(self) -> str | None:
        """What carries its link to the coordinator."""
        kind: str | None = self.status.get("coordinator", {}).get("link")
        return kind

    @property
    def link_rtt(self) -> float | None:
        """That link's round trip, in milliseconds."""
        rtt: float | None = self.status.get("coordinator", {}).get("rtt_ms")
        return rtt

    @property
    def other(self) -> dict[str, Any]:
        """What it says of the other machine; empty before it knows it."""
        peers = self.status.get("peers") or [{}]
        other: dict[str, Any] = peers[0]
        return other

    @property
    def path(self) -> str | None:
        """By what it reaches the other machine: ``udp``, ``ssh``, ``websocket`` or None."""
        kind: str | None = self.other.get("path", {}).get("kind")
        return kind

    @property
    def path_rtt(self) -> float | None:
        """The round trip to the other machine, in milliseconds."""
        rtt: float | None = self.other.get("path", {}).get("rtt_ms")
        return rtt


@dataclass
class Scene:
    """All of it.

    :ivar coordinator: its address.
    :ivar serving: whether it runs.
    :ivar cut: what the first machine's gateway drops now (``udp`` or ``ssh``), or None.
    :ivar transfer: how far the file is.
    :ivar size: bytes of the file.
    :ivar pong: number and milliseconds of the last ping that was answered.
    """

    coordinator: str
    sides: tuple[Side, Side]
    serving: bool = False
    cut: str | None = None
    transfer: Transfer | None = None
    size: int = 0
    pong: tuple[int, float] | None = None

    @property
    def is_direct(self) -> bool:
        """Whether both machines use a direct path."""
        return all(side.path in ("udp", "tcp") for side in self.sides)
