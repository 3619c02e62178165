"""Connections from nobody knows whom yet: few together, few from one place."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_network

MAX_STRANGERS = 1024
"""Together: on the SSH port each may cost 60 KB for ten seconds, an honest one is gone in one."""

MAX_STRANGERS_EACH = 64
"""From one address (an IPv6 /64): the peers of an office behind one NAT coming back at once."""


class Strangers:
    """Who is connected and has not shown who, or what, it is."""

    def __init__(self) -> None:
        self._sources: dict[object, str] = {}
        self._at: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._sources)

    def admits(self, address: object) -> bool:
        """Whether there is room for one more from *address*, a Twisted address."""
        return len(self) < MAX_STRANGERS and self._at[source(address)] < MAX_STRANGERS_EACH

    def add(self, connection: object, address: object) -> None:
        """*connection* has come."""
        where = self._sources[connection] = source(address)
        self._at[where] += 1

    def settled(self, connection: object) -> None:
        """*connection* is no stranger any more, or is gone; may be said twice."""
        where = self._sources.pop(connection, None)
        if where is not None:
            self._at[where] -= 1
            if not self._at[where]:
                del self._at[where]


def source(address: object) -> str:
    """Whom to count a connection for: an IPv4 address, or an IPv6 network of 64 bits."""
    host = str(getattr(address, "host", "")).partition("%")[0]
    if ":" in host:
        return str(ip_network((host, 64), strict=False))
    return host
