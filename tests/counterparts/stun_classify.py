"""Classify the NAT in front of this process, over real sockets.

``python -m tests.counterparts.stun_classify SERVER:PORT… [-- LOCAL…]`` prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from typing import Any

from tunnelmesh.nat.discovery import (
    Filtered,
    FilteringDiscovery,
    Mapped,
    MappingDiscovery,
    Send,
    behaviour,
)
from tunnelmesh.wire.endpoint import Endpoint


def run(machine: Any, family: int) -> Any:
    """Run a discovery on a socket of its own until it has a verdict: its last output."""
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        channel.bind(("", 0))
        outputs = machine.start(time.monotonic())
        while True:
            for output in outputs:
                if isinstance(output, Send):
                    try:
                        channel.sendto(output.datagram, output.to)
                    except OSError:
                        pass
                elif isinstance(output, (Mapped, Filtered)):
                    return output
            pause = max(0.0, machine.deadline - time.monotonic())
            if select.select([channel], [], [], pause)[0]:
                datagram, source = channel.recvfrom(2048)
                outputs = machine.receive(datagram, Endpoint(*source[:2]), time.monotonic())
            else:
                outputs = machine.expire(time.monotonic())


def main(arguments: list[str]) -> None:
    """Print what was found, and how long it took."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    servers = [Endpoint.parse(each) for each in arguments[:cut]]
    family = socket.AF_INET6 if ":" in servers[0].host else socket.AF_INET
    started = time.monotonic()
    mapped = run(MappingDiscovery(servers, os.urandom), family)
    mapped_after = time.monotonic() - started
    filtered = None
    if mapped.external is not None:
        filtered = run(FilteringDiscovery(servers, os.urandom), family)
    found = behaviour(mapped, filtered, arguments[cut + 1 :])
    print(
        json.dumps(
            {
                "flavour": found.flavour,
                "mapping": found.mapping,
                "filtering": found.filtering,
                "external": found.external and str(found.external),
                "samples": [str(each) for each in found.samples],
                "mapping_s": round(mapped_after, 3),
                "filtering_s": round(time.monotonic() - started - mapped_after, 3),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
