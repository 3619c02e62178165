"""Under which address peers reach the coordinator, where nobody has said."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import ifaddr

from tunnelmesh.nat.addresses import is_global6


def own_addresses() -> list[str]:
    """This machine's addresses, IPv4 first."""
    found = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    four = [address for address in found if isinstance(address, str)]
    return four + [address[0] for address in found if not isinstance(address, str)]


def guess(addresses: Sequence[str]) -> str:
    """The one that most others can reach: a public one, else a LAN's, else the machine's own."""

    def distance(address: str) -> tuple[bool, bool, bool]:
        ip = ip_address(address)
        return ip.is_loopback or ip.is_link_local, not ip.is_global, ip.version == 6

    return min(addresses, key=distance, default="127.0.0.1")


def public6(addresses: Sequence[str]) -> str:
    """The first of these that is an address of the IPv6 internet, or nothing."""
    return next(filter(is_global6, addresses), "")


def is_public(host: str) -> bool:
    """Whether *host* is a name, or an address that is valid in all the internet."""
    try:
        return ip_address(host).is_global
    except ValueError:
        return True
