"""Where a peer might be reached (RFC 8445 §5.1.1), and what its NAT does, as peers tell it."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from enum import Enum
from typing import TypeVar

from tunnelmesh.nat.addresses import is_probeable, is_reachable
from tunnelmesh.nat.behaviour import Filtering, Mapping, NatBehaviour
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import HOST, MAPPED, REFLEXIVE, Candidate, Describe

MAX_HOST = 6
"""Host addresses told at most: a machine full of containers has dozens, reachable by nobody."""

MAX_HOST6 = 3
"""IPv6 ones: a stable address, a temporary one (RFC 8981), and perhaps a site's own."""

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
    *,
    port6: int | None = None,
    external6: Endpoint | None = None,
) -> tuple[Candidate, ...]:
    """The candidates of one socket, or of one for each family.

    :param addresses: the machine's own, in the order of preference.
    :param port: the socket's.
    :param external: the reflexive endpoint, if known.
    :param mapped: where a router forwards to the socket.
    :param port6: the IPv6 socket's, if there is one; *external6* its reflexive endpoint.
    """
    own = [address for address in addresses if is_reachable(address)]
    hosts = [Endpoint(a, port) for a in own if ":" not in a][:MAX_HOST]
    if port6 is not None:
        hosts += [Endpoint(a, port6) for a in own if ":" in a][:MAX_HOST6]
    candidates = [Candidate(HOST, endpoint) for endpoint in hosts]
    candidates += [Candidate(MAPPED, endpoint) for endpoint in dict.fromkeys(mapped)]
    for reflexive in (external, external6):
        if reflexive is not None and all(c.endpoint != reflexive for c in candidates):
            candidates.append(Candidate(REFLEXIVE, reflexive))
    return tuple(candidates)


def endpoints_to_try(
    them: Describe, own: Describe, avoid: Collection[Endpoint] = ()
) -> list[Endpoint]:
    """Where to probe a peer, likeliest first, leaving out what is one's own.

    :param avoid: who is known to be somebody else.
    """
    hosts = {c.endpoint for c in own.candidates if c.kind == HOST}
    addresses = {endpoint.host for endpoint in hosts}
    ranked = sorted(them.candidates, key=lambda c: _RANK.get(c.kind, len(_RANK)))
    endpoints = dict.fromkeys(c.endpoint for c in ranked)
    others = [each for each in endpoints if each not in hosts and each not in avoid]
    return [each for each in others if is_probeable(each, addresses)]


def has_ipv6(described: Describe) -> bool:
    """Whether a peer tells of an IPv6 address of its own."""
    return bool(_hosts6(described))


def share_ipv6(one: Describe, other: Describe) -> bool:
    """Whether two peers both have IPv6, where nothing translates and firewalls can be opened."""
    return any(is_probeable(to, {c.endpoint.host for c in one.candidates}) for to in _hosts6(other))


def _hosts6(described: Describe) -> list[Endpoint]:
    return [c.endpoint for c in described.candidates if c.kind == HOST and ":" in c.endpoint.host]


def behaviour_of(described: Describe) -> NatBehaviour:
    """What a description says of a NAT; words that are not known count as unknown."""
    return NatBehaviour(
        mapping=_member(Mapping, described.mapping, Mapping.UNKNOWN),
        filtering=_member(Filtering, described.filtering, Filtering.UNKNOWN),
        external=described.external,
        allocation=described.allocation,
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
