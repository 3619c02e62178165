"""This machine's own addresses."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence

from tunnelmesh.nat.addresses import is_reachable

_FAR = ("2000::1", 9)
"""Anywhere on the IPv6 internet: to ask which way that is, and nothing is sent there."""

_VIRTUAL = ("docker", "br-", "veth", "virbr")


def local_addresses(leave_out: Callable[[str], bool]) -> Sequence[str]:
    """The interfaces' addresses that others might reach, the likeliest first.

    Of several IPv6 addresses the one that the system sends from comes first: a firewall on the way
    knows that one only.

    :param leave_out: says which interface names do not count, such as our own.
    """
    preferred = _sends_from()

    def unlikely(address: str, interface: str) -> tuple[bool, bool, bool]:
        return ":" in address, address != preferred, interface.startswith(_VIRTUAL)

    found = [(unlikely(*each), each[0]) for each in _all() if not leave_out(each[1])]
    return [address for _, address in sorted(found, key=lambda each: each[0])]


def _all() -> Iterator[tuple[str, str]]:
    """Addresses, and their interfaces' names."""
    import ifaddr

    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            address = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            if is_reachable(address):
                yield address, adapter.name


def _sends_from() -> str | None:
    """The address that packets to the IPv6 internet have (RFC 6724 §5), if it can be reached."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.connect(_FAR)
            return str(sock.getsockname()[0])
    except OSError:
        return None
