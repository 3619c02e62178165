"""Have a port of the router's mapped in one language; echo what comes, until standard input ends.

Run as ``python -m tests.counterparts.port_mapper LANGUAGE``. Each line it prints is JSON: what is
mapped now, and, at the end, that nothing is any more.
"""

from __future__ import annotations

import json
import os
import sys
from random import Random

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol, Protocol
from twisted.internet.stdio import StandardIO

from tunnelmesh.nat.portmap import lease
from tunnelmesh.peer.reach.default_route import default_route
from tunnelmesh.peer.reach.port_mapping import PortMapping


class Echo(DatagramProtocol):
    """Sends everything back."""

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Something came."""
        self.transport.write(datagram, addr)


class UntilClosed(Protocol):
    """Gives the port back when standard input ends."""

    def __init__(self, mapping: PortMapping) -> None:
        self.mapping = mapping

    def connectionLost(self, reason: object) -> None:
        """It has ended."""
        self.mapping.stop().addCallback(lambda _: reactor.stop())


def main(language: str) -> None:
    """Run."""
    every = lease.Lease
    lease.Lease = lambda speakers, random: every(  # type: ignore
        [speaker for speaker in speakers if speaker.name == language], random
    )
    mapping = PortMapping(
        reactor,
        lambda: default_route(""),
        os.urandom,
        Random(),
        lambda: print(json.dumps(mapping.described()), flush=True),
    )
    mapping.start(reactor.listenUDP(0, Echo()).getHost().port)
    StandardIO(UntilClosed(mapping))
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1])
