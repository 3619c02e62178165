"""A mesh of three, for the tests of names."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from tunnelmesh.names.zone import Address, Zone

NETWORK = IPv4Network("100.96.0.0/16")
NETWORK6 = IPv6Network("fd74:6d6d:6573::/48")

LAPTOP, HOMELAB = IPv4Address("100.96.0.1"), IPv4Address("100.96.0.2")
HOMELAB6 = IPv6Address("fd74:6d6d:6573:1:2:3:4:5")


class Directory:
    """Who has which addresses; a test changes it."""

    own_name = "laptop"

    def __init__(self) -> None:
        self.known: dict[str, Sequence[Address]] = {
            "laptop": (LAPTOP,),
            "homelab": (HOMELAB, HOMELAB6),
            "wpad": (IPv4Address("100.96.0.3"),),
        }

    def addresses(self, name: str) -> Sequence[Address]:
        """Those of a name."""
        return self.known.get(name, ())

    def name_of(self, address: Address) -> str | None:
        """The one that has an address."""
        return next((name for name, all in self.known.items() if address in all), None)


def zone() -> Zone:
    """Theirs."""
    return Zone(Directory(), [NETWORK, NETWORK6])
