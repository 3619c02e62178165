"""What the way of plain TCP to a peer without a device costs, the stream left out.

Run as root, as ``python -m bench.crossing [--ipv6] [--plain] [--json]``. In a network namespace of
its own, a program sends to a peer that is not there; the kernel's TCP ends at the listener of
:mod:`tunnelmesh.peer.crossing`, and what it takes is thrown away where a stream would begin. Shown
are the rate and this process's CPU, its share of the kernel's work included.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from bench.device import FAR, NEAR, PATIENCE, Plain, child, send_tcp
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.interfaces import IStreams, ITunnelUser
from tunnelmesh.peer.crossing import Crossing
from tunnelmesh.tun.device import System, open_device

MEGABYTES = 1000

_CLONE_NEWNET = 0x40000000


class Nowhere:
    """A stream's transport that takes everything at once.

    :ivar taken: bytes so far; *digest*: of those of a short transfer.
    """

    def __init__(self, digested: bool) -> None:
        self.protocol: Any = None
        self.taken = 0
        self.digest = hashlib.sha256()
        self._digested = digested

    def write(self, data: bytes) -> None:
        """Throw it away."""
        self.taken += len(data)
        if self._digested:
            self.digest.update(data)

    def loseWriteConnection(self) -> None:
        """That was all: nothing comes back."""
        self.protocol.readConnectionLost()

    def nothing(self, *arguments: object) -> None:
        """Nothing else matters."""

    registerProducer = unregisterProducer = pauseProducing = resumeProducing = nothing
    stopProducing = loseConnection = abortConnection = nothing


@implementer(IStreams, IStreamClientEndpoint)
class Streams:
    """Opens streams to nowhere, at once."""

    def __init__(self, digested: bool) -> None:
        self.transport = Nowhere(digested)

    def endpoint(self, host: str, port: int) -> Streams:
        """All lead to the same place."""
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """It is open."""
        protocol = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        assert protocol is not None
        protocol.makeConnection(self.transport)  # type: ignore[arg-type]
        return succeed(protocol)


@implementer(ITunnelUser)
class Leaving:
    """Gives the crossing everything that leaves for the peer."""

    def __init__(self, crossing: Crossing) -> None:
        self._crossing = crossing
        self.lanes: dict[bytes, Any] = {}
        self.super_packets = 0

    def packets_leaving(self, packets: Sequence[bytes]) -> None:
        """Ordinary packets; the kernel says other things as well, to nobody in particular."""
        ends = tuple(each.ip.packed for each in FAR)
        self._crossing.packets_leaving(
            "peer", [packet for packet in packets if packet[16:20] in ends or packet[24:40] in ends]
        )

    def bulk_leaving(self, packet: SuperPacket) -> None:
        """A super-packet."""
        self.super_packets += 1
        self._crossing.bulk_leaving("peer", packet)


def measure(megabytes: int, ipv6: bool, plain: bool) -> dict[str, Any]:
    """One transfer."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise SystemExit("needs the right to make network namespaces: run as root")
    device = open_device(reactor, "near", *NEAR, system=Plain() if plain else System())
    streams = Streams(megabytes < 50)  # as send_tcp does
    crossing = Crossing(reactor, reactor, streams, device, (NEAR[0].ip, NEAR[1].ip), Counter[str]())
    leaving = Leaving(crossing)
    device.start(leaving)
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    to = str(FAR[ipv6].ip), 5001
    begun, cpu, deadline = time.perf_counter(), time.process_time(), time.monotonic() + PATIENCE
    pid, told = child(lambda: send_tcp(family, to, megabytes))

    def look() -> None:
        if os.waitpid(pid, os.WNOHANG)[0] or time.monotonic() > deadline:
            reactor.stop()
        else:
            reactor.callLater(0.01, look)

    reactor.callLater(0, look)
    reactor.run()
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    sent, damaged = json.loads(os.read(told, 1000) or '["nothing was sent", 0]')
    taken = streams.transport.taken
    return {
        "mbit_s": round(taken * 8e-6 / took),
        "cpu_s_per_gb": round(cpu * 1e9 / max(taken, 1), 2),
        "taken": taken,
        "super_packets": leaving.super_packets,
        "written": device.written,
        "refused": device.refused,
        "sent": sent,
        "received": streams.transport.digest.hexdigest(),
        "checksum_errors": damaged,
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    parser.add_argument("--ipv6", action="store_true")
    parser.add_argument("--plain", action="store_true", help="a device without offloads")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.megabytes, options.ipv6, options.plain)
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{result['mbit_s']} Mbit/s, {result['cpu_s_per_gb']} CPU s/GB")


if __name__ == "__main__":
    main()
