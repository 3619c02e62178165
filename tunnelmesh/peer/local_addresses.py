"""This machine's own addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence


def local_addresses(leave_out: Callable[[str], bool]) -> Sequence[str]:
    """IPv4 addresses of the interfaces, those of physical networks first.

    :param leave_out: says which interface names do not count, such as our own.
    """
    import ifaddr

    found = []
    for adapter in ifaddr.get_adapters():
        if leave_out(adapter.name) or adapter.name == "lo":
            continue
        for ip in adapter.ips:
            if isinstance(ip.ip, str) and not ipaddress.ip_address(ip.ip).is_loopback:
                virtual = adapter.name.startswith(("docker", "br-", "veth", "virbr"))
                found.append((virtual, ip.ip))
    return [address for _, address in sorted(found, key=lambda each: each[0])]
