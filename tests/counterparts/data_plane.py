"""A program: our data plane alone, beside a wireguard-go, and streams through the two.

Arguments: the other side's public key in hexadecimal, and any of ``plain-device`` and
``plain-datagrams``, for what is to be done without. It is started on wireguard-go's machine, where
its UDP socket and the streams' far ends stay; the device is on a machine of its own. Whatever comes
out of a stream's far end goes back in. It prints what came back, as JSON.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.wire import Echo
from zope.interface import implementer

from bench.device import Plain
from tests.counterparts.wireguard_go import OURS, OURS6, PORT, THEIRS, THEIRS6
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.interfaces import ITunnelUser
from tunnelmesh.noise.device import Device
from tunnelmesh.noise.outputs import Deliver, Output, Reply, Transmit
from tunnelmesh.transports.offload import cut
from tunnelmesh.transports.udp import UdpTransport
from tunnelmesh.tun.device import System, open_device
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.record import receiver_of

reactor: Any = _reactor

KEY = bytes(range(32))
"""Our private key."""

OUR_PORT = 51821
ECHO_PORT = 7007

SIZE = 3_000_000
"""Bytes that each stream carries, each way."""

PATIENCE = 20.0

_CLONE_NEWNET = 0x40000000


@implementer(ITunnelUser)
class DataPlane:
    """What joins the device, the tunnel and the socket."""

    def __init__(self, remote: bytes) -> None:
        self.noise = Device(KEY, entropy=os.urandom, random=Random(1), wall=time.time)
        self.tunnel = self.noise.add_peer(remote)
        self.udp = UdpTransport(self)
        self.lanes: dict[bytes, Any] = {}
        self.super_packets = self.flights = 0

    def open(self, device: System, datagrams: Any) -> None:
        """Open the socket here, and the device on a new machine."""
        self.udp.open(datagrams, OUR_PORT)
        leave_for_new_machine()
        addresses = IPv4Interface(f"{OURS}/24"), IPv6Interface(f"{OURS6}/64")
        self.kernel = open_device(reactor, "tm0", *addresses, system=device)
        self.kernel.start(self)
        self.expire()

    def packets_leaving(self, packets: Sequence[bytes]) -> None:
        self.perform(self.tunnel.send(packets, reactor.seconds()))

    def bulk_leaving(self, packet: SuperPacket) -> None:
        self.super_packets += 1
        session, now = self.tunnel.session, reactor.seconds()
        run = None if session is None else session.seal_flight(packet)
        if session is None or run is None:
            self.perform(self.tunnel.send_bulk(packet, None, now))
            return
        self.udp.send_run(run, Endpoint("127.0.0.1", PORT))
        self.perform(self.tunnel.sent(session, run.count, packet.length, now))

    def datagrams_received(self, datagrams: Sequence[bytes], path: Any) -> None:
        self.perform(self.noise.receive(datagrams, str(path.remote).encode(), reactor.seconds()))

    def run_received(self, messages: memoryview, segment: int, path: Any) -> None:
        session = self.tunnel.session
        packets = None
        if session is not None and session.local == receiver_of(messages) and self.kernel.offloads:
            packets = session.open_flight(messages, segment)
        if session is None or packets is None:
            self.datagrams_received(cut(messages, segment), path)
            return
        self.flights += 1
        for packet in packets:
            self.kernel.write_bulk(packet)
        self.perform(self.tunnel.received(session, len(packets), len(messages), reactor.seconds()))

    def perform(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                self.udp.send(output.datagrams, Endpoint("127.0.0.1", PORT))
            elif isinstance(output, Reply):
                self.udp.send([output.datagram], Endpoint("127.0.0.1", PORT))
            elif isinstance(output, Deliver):
                self.kernel.write(output.packets)

    def expire(self) -> None:
        """Look after the tunnel's timers."""
        if self.tunnel.deadline is not None and self.tunnel.deadline <= reactor.seconds():
            self.perform(self.tunnel.expire(reactor.seconds()))
        reactor.callLater(0.1, self.expire)


class Stream(Protocol):
    """The near end of a stream: sends, and takes what comes back."""

    factory: Any
    left = SIZE

    def connectionMade(self) -> None:
        self.digest = hashlib.sha256()
        self.transport.write(CONTENT)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.digest.update(data)
        self.left -= len(data)
        if not self.left:
            self.transport.loseConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.ended.append(self.digest.hexdigest())
        if len(self.factory.ended) == 2:
            reactor.stop()


CONTENT = Random(2).randbytes(SIZE)


def leave_for_new_machine() -> None:
    """Be in a network namespace of its own from now on; sockets stay where they were made."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


def damaged() -> int:
    """TCP segments whose checksum was wrong, on the machine where this process is."""
    lines = Path("/proc/self/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("InCsumErrors")])


def main(remote: str, *without: str) -> None:
    """Open everything, let two streams through, and tell."""
    for address in (THEIRS, THEIRS6):
        reactor.listenTCP(ECHO_PORT, Factory.forProtocol(Echo), interface=address)
    plane = DataPlane(bytes.fromhex(remote))
    # A reactor that knows no descriptors, as on other systems, is one for plain datagrams.
    datagrams = SimpleNamespace(listenUDP=reactor.listenUDP)
    plane.open(
        Plain() if "plain-device" in without else System(),
        datagrams if "plain-datagrams" in without else reactor,
    )
    streams: Any = Factory.forProtocol(Stream)
    streams.ended = []
    for address in (THEIRS, THEIRS6):
        HostnameEndpoint(reactor, address, ECHO_PORT).connect(streams)
    reactor.callLater(PATIENCE, reactor.stop)
    reactor.run()
    told = {
        "sent": hashlib.sha256(CONTENT).hexdigest(),
        "received": streams.ended,
        "super_packets": plane.super_packets,
        "flights": plane.flights,
        "written": plane.kernel.written,
        "refused": plane.kernel.refused + plane.udp.refused,
        "dropped": {name: each for name, each in asdict(plane.noise.counters).items() if each},
        "damaged": damaged(),
        "lacking": plane.kernel.lacking,
        "segmentation": plane.udp.segmentation,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
