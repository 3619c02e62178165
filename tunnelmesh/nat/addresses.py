"""Which IP addresses lead where (RFC 6890, RFC 4291, RFC 4193)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from tunnelmesh.wire.endpoint import Endpoint

_GLOBAL6 = ipaddress.ip_network("2000::/3")
_UNIQUE_LOCAL = ipaddress.ip_network("fc00::/7")

SITE_PREFIX = 48
"""Bits that the unique local addresses of one site have in common (RFC 4193 §3.1)."""


def is_reachable(address: str) -> bool:
    """Whether others might reach a machine by this address of its own."""
    ip = ipaddress.ip_address(address)
    if ip.version == 6:
        return ip in _GLOBAL6 or ip in _UNIQUE_LOCAL
    return not (ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast)


def is_global6(address: str) -> bool:
    """Whether this is an address of the IPv6 internet."""
    return ipaddress.ip_address(address) in _GLOBAL6


def is_probeable(endpoint: Endpoint, own: Iterable[str]) -> bool:
    """Whether a stranger's word may make us send there: to one machine, and not to ourselves.

    :param own: this machine's addresses that others may know. Unique local addresses mean something
        within one site only, and IPv6 ones nothing to who has none.
    """
    ip = ipaddress.ip_address(endpoint.host)
    if not endpoint.port:
        return False
    if ip.version == 4:
        return not (ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_reserved)
    mine = [each for each in map(ipaddress.ip_address, own) if each.version == 6]
    if ip in _UNIQUE_LOCAL:
        return any(int(ip) >> 128 - SITE_PREFIX == int(each) >> 128 - SITE_PREFIX for each in mine)
    return ip in _GLOBAL6 and any(each in _GLOBAL6 for each in mine)
