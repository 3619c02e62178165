"""The router that this machine sends everything else to."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

ROUTES = Path("/proc/net/route")

_UP, _GATEWAY = 0x1, 0x2
"""RTF_UP and RTF_GATEWAY (route(8))."""


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """A way out over IPv4.

    :ivar router: its address.
    :ivar own: this machine's own address towards it.
    """

    router: str
    own: str


def default_route(leave_out: str) -> DefaultRoute | None:
    """The kernel's default route with the lowest metric, or None if there is none.

    :param leave_out: an interface that does not count: our own.
    """
    try:
        router = router_in(ROUTES.read_text("ascii"), leave_out)
    except OSError:
        return None
    if router is None:
        return None
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect((router, 9))  # sends nothing: it has the kernel choose a source
        except OSError:
            return None
        return DefaultRoute(router, probe.getsockname()[0])


def router_in(table: str, leave_out: str) -> str | None:
    """The best default route's router in a table as Linux shows it in ``/proc/net/route``."""
    found = []
    for line in table.splitlines()[1:]:
        name, to, router, flags, _, _, metric, mask, *_ = line.split()
        usable = int(flags, 16) & (_UP | _GATEWAY) == _UP | _GATEWAY
        if usable and name != leave_out and int(to, 16) == int(mask, 16) == 0:
            # The kernel prints addresses as numbers of the machine's own byte order.
            found.append((int(metric), str(IPv4Address(socket.htonl(int(router, 16))))))
    return min(found)[1] if found else None
