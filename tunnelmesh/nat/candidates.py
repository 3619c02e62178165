"""Where a peer might be reached (RFC 8445 §5.1.1), and what its NAT does, as peers tell it."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from enum import Enum
from typing import TypeVar

from tunnelmesh.nat.behaviour import Filtering, Mapping, NatBehaviour
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import HOST, MAPPED, REFLEXIVE, Candidate, Describe

MAX_HOST = 6
"""Host addresses told at most: a machine full of containers has dozens, reachable by nobody."""

_RANK = {HOST: 0, MAPPED: 1, REFLEXIVE: 2}
"""Near before far: on a common LAN the host address wins the race by being probed first."""

_INNER = [
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
]
"""Private and shared addresses (RFC 1918, RFC 6598), and link-local ones."""

E = TypeVar("E", bound=Enum)


def gather(
    addresses: Iterable[str],
    port: int,
    external: Endpoint | None,
    mapped: Iterable[Endpoint] = (),
) -> tuple[Candidate, ...]:
    """The candidates of one socket.

    :param addresses: the machine's own, in the order of preference.
    :param port: the socket's.
    :param external: the reflexive endpoint, if known.
    :param mapped: where a router forwards to the socket.
    """
    own = [a for a in addresses if _is_reachable(a)][:MAX_HOST]
    candidates = [Candidate(HOST, Endpoint(address, port)) for address in own]
    candidates += [Candidate(MAPPED, endpoint) for endpoint in dict.fromkeys(mapped)]
    if external is not None and all(c.endpoint != external for c in candidates):
        candidates.append(Candidate(REFLEXIVE, external))
    return tuple(candidates)


def endpoints_to_try(them: Describe, own: Describe) -> list[Endpoint]:
    """Where to probe a peer, likeliest first, leaving out what is one's own."""
    mine: Collection[Endpoint] = {c.endpoint for c in own.candidates if c.kind == HOST}
    ranked = sorted(them.candidates, key=lambda c: _RANK.get(c.kind, len(_RANK)))
    return [c.endpoint for c in ranked if c.endpoint not in mine and _is_probeable(c.endpoint)]


def behaviour_of(described: Describe) -> NatBehaviour:
    """What a description says of a NAT; words that are not known count as unknown."""
    return NatBehaviour(
        mapping=_member(Mapping, described.mapping, Mapping.UNKNOWN),
        filtering=_member(Filtering, described.filtering, Filtering.UNKNOWN),
        external=described.external,
        forwarded=any(_is_forwarded(each, described.external) for each in described.candidates),
    )


def _is_forwarded(candidate: Candidate, external: Endpoint | None) -> bool:
    """Whether everybody reaches this endpoint, as far as can be told.

    A router that stands behind another NAT forwards from an address which is not the one that the
    internet sees: with luck a few neighbours reach that.
    """
    seen = external is None or external.host == candidate.endpoint.host
    return candidate.kind == MAPPED and seen and not is_inner(candidate.endpoint.host)


def _member(kind: type[E], value: str, otherwise: E) -> E:
    try:
        return kind(value)
    except ValueError:
        return otherwise


def is_inner(address: str) -> bool:
    """Whether an IPv4 address means something behind some NAT only, not on the internet."""
    return any(ipaddress.ip_address(address) in network for network in _INNER)


def _is_reachable(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return ip.version == 4 and not (ip.is_loopback or ip.is_link_local or ip.is_unspecified)


def _is_probeable(endpoint: Endpoint) -> bool:
    """Whether a stranger's word may make us send there: to one host, and not to ourselves."""
    ip = ipaddress.ip_address(endpoint.host)
    special = ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_reserved
    return endpoint.port > 0 and ip.version == 4 and not special
