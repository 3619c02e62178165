"""Which of two ways is better: a pure function, with enough hysteresis not to flap."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from tunnelmesh.paths.health import Health, State
from tunnelmesh.wire.endpoint import Endpoint

RELAY: Final = "relay"
"""The key of the way through the coordinator."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A direct way that does not leave from the main UDP socket, named by what makes a flow.

    :ivar kind: ``tcp`` or ``udp``.
    :ivar port: the local port.
    :ivar remote: where it leads.
    """

    kind: str
    port: int
    remote: Endpoint

    def __str__(self) -> str:
        return str(self.remote)


Way = Endpoint | Flow | str
"""A way to the remote peer: the endpoint that the main UDP socket sends to, another flow, or
:data:`RELAY`."""

GAIN = 0.002
"""Seconds of round trip that a challenger must save at least: less is jitter."""

GAIN_PART = 0.1
"""And this part of the incumbent's round trip."""


_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)


def remote_of(way: Way) -> Endpoint | None:
    """Where a direct way leads; None for the relay."""
    if isinstance(way, Flow):
        return way.remote
    return way if isinstance(way, Endpoint) else None


BEST = 2
"""The highest :func:`rank`."""


def rank(way: Way) -> int:
    """What a way is worth, whatever the round trips.

    Over TCP a lost segment delays what comes after it, and the flows inside repeat what is only
    late; so it comes after UDP. The relay has the same fault and another machine's limits.
    """
    if way == RELAY:
        return 0
    return 1 if isinstance(way, Flow) and way.kind == "tcp" else BEST


def is_stream(way: Way) -> bool:
    """Whether a way is inside a TCP connection, which carries datagrams of any length."""
    return way == RELAY or (isinstance(way, Flow) and way.kind == "tcp")


def is_local(way: Way) -> bool:
    """Whether a way stays within a private network (RFC 1918, RFC 4193, link-local), or within a
    carrier's own (RFC 6598)."""
    remote = remote_of(way)
    if remote is None:
        return False
    address = ipaddress.ip_address(remote.host)
    return any(address in network for network in _PRIVATE)


def better(challenger: tuple[Way, Health], incumbent: tuple[Way, Health]) -> bool:
    """Whether to leave *incumbent* for *challenger*.

    Direct before relayed, and UDP before TCP, whatever the round trips; then the clearly shorter
    round trip; then a way that stays in the local network; then IPv6, where no NAT forgets it.
    Equals stay as they are.
    """
    way, health = challenger
    present, health_now = incumbent
    if rank(way) != rank(present):
        return rank(way) > rank(present)
    if health.rtt is not None and health_now.rtt is not None:
        gain = health_now.rtt - health.rtt
        threshold = max(GAIN, GAIN_PART * health_now.rtt)
        if abs(gain) > threshold:
            return gain > 0
    return _nearness(way) > _nearness(present)


def _nearness(way: Way) -> int:
    remote = remote_of(way)
    if is_local(way):
        return 2
    return 1 if remote is not None and ":" in remote.host else 0


def usable(way: Way, health: Health, present: Way | None) -> bool:
    """Whether a way may carry traffic: proven, or the one in use and not yet given up."""
    if health.state is State.GOOD:
        return True
    return health.state is State.SUSPECT and way == present
