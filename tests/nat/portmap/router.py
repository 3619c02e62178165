"""A router in memory that speaks as many of the three languages as it is told to."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from ipaddress import IPv4Address
from random import Random

from tunnelmesh.nat.portmap import pcp
from tunnelmesh.nat.portmap.igd_speaker import IgdSpeaker
from tunnelmesh.nat.portmap.lease import Lease
from tunnelmesh.nat.portmap.natpmp_speaker import NatPmpSpeaker
from tunnelmesh.nat.portmap.pcp_speaker import PcpSpeaker
from tunnelmesh.nat.portmap.speaker import Fetch
from tunnelmesh.nat.query import Send
from tunnelmesh.wire.endpoint import Endpoint

ADDRESS, OWN, OUTSIDE, PORT = "192.168.1.1", "192.168.1.2", "198.51.100.7", 41641

DESCRIPTION = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceList><device><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANIPConnection:{version}</serviceType>
<controlURL>/ctl</controlURL>
</service></serviceList></device></deviceList></device></root>"""

ENVELOPE = '<s:Envelope xmlns:s="x"><s:Body>{}</s:Body></s:Envelope>'
FAULT = "<s:Fault><detail><UPnPError><errorCode>{}</errorCode></UPnPError></detail></s:Fault>"


class Router:
    """What the router does, by hand.

    :ivar languages: which it speaks.
    :ivar mappings: internal to external port.
    :ivar up_since: when it lost its mappings last.
    :ivar result: what PCP and NAT-PMP answer to a request for a mapping.
    :ivar faults: UPnP errors with which the next requests are answered.
    :ivar asked: every UPnP action, with its arguments, and every other request by its name.
    """

    def __init__(self, *languages: str, igd: int = 1) -> None:
        self.languages = languages
        self.igd = igd
        self.mappings: dict[int, int] = {}
        self.up_since = 0.0
        self.outside = OUTSIDE
        self.lifetime = 3600
        self.result = 0
        self.faults: list[int] = []
        self.asked: list[str] = []
        self.shift = 0

    def answer(self, send: Send, now: float) -> list[tuple[bytes, Endpoint]]:
        """What it sends back."""
        data = send.datagram
        if send.to.port == 1900:
            return self._ssdp(data)
        if send.to != Endpoint(ADDRESS, 5351):
            return []
        speaks = "PCP" if data[0] == 2 else "NAT-PMP"
        if speaks not in self.languages:
            return []
        said = (self._pcp if speaks == "PCP" else self._natpmp)(data, int(now - self.up_since))
        return [(said, send.to)]

    def _map(self, internal: int, lifetime: int, wanted: int) -> int:
        if self.result:
            return 0
        if not lifetime:
            self.mappings.pop(internal, None)
            return 0
        self.mappings[internal] = (wanted or internal) + self.shift
        return self.mappings[internal]

    def _pcp(self, data: bytes, epoch: int) -> bytes:
        opcode = data[1]
        if opcode == pcp.ANNOUNCE:
            self.asked.append("announce")
            return struct.pack(">BBBBII12x", 2, 128, 0, 0, 0, epoch)
        lifetime = struct.unpack_from(">I", data, 4)[0]
        nonce, internal, wanted = data[24:36], *struct.unpack_from(">HH", data, 40)
        self.asked.append("map" if lifetime else "unmap")
        external = self._map(internal, lifetime, wanted)
        head = struct.pack(
            ">BBBBII12x", 2, 129, 0, self.result, self.lifetime if lifetime else 0, epoch
        )
        address = bytes(10) + b"\xff\xff" + IPv4Address(self.outside).packed
        return head + nonce + struct.pack(">B3xHH", 17, internal, external) + address

    def _natpmp(self, data: bytes, epoch: int) -> bytes:
        if data[1] == 0:
            self.asked.append("address")
            packed = IPv4Address(self.outside).packed
            return struct.pack(">BBHI", 0, 128, 0, epoch) + packed
        internal, wanted, lifetime = struct.unpack_from(">HHI", data, 4)
        self.asked.append("map" if lifetime else "unmap")
        external = self._map(internal, lifetime, wanted)
        granted = self.lifetime if lifetime else 0
        return struct.pack(">BBHIHHI", 0, 129, self.result, epoch, internal, external, granted)

    def _ssdp(self, data: bytes) -> list[tuple[bytes, Endpoint]]:
        if "UPnP-IGD" not in self.languages:
            return []
        target = re.search(rb"\nST: (\S+)", data)
        assert target is not None
        said = b"HTTP/1.1 200 OK\r\nST: %s\r\nLOCATION: http://%s:5000/d.xml\r\n\r\n"
        return [(said % (target[1], ADDRESS.encode()), Endpoint(ADDRESS, 1900))]

    def page(self, asked: Fetch) -> bytes | None:
        """What its web server answers."""
        if not asked.action:
            self.asked.append("description")
            return DESCRIPTION.format(version=self.igd).encode()
        action = asked.action.partition("#")[2]
        arguments = dict(re.findall(rb"<(New\w+)>([^<]*)<", asked.body))
        self.asked.append(action)
        if action != "GetExternalIPAddress" and self.faults:
            return ENVELOPE.format(FAULT.format(self.faults.pop(0))).encode()
        said = ""
        external = int(arguments.get(b"NewExternalPort", b"0"))
        if action == "GetExternalIPAddress":
            said = f"<NewExternalIPAddress>{self.outside}</NewExternalIPAddress>"
        elif action == "DeletePortMapping":
            self.mappings = {i: e for i, e in self.mappings.items() if e != external}
        else:
            self.leased = int(arguments[b"NewLeaseDuration"])
            self.mappings[int(arguments[b"NewInternalPort"])] = external + self.shift
            if action == "AddAnyPortMapping":
                said = f"<NewReservedPort>{external + self.shift}</NewReservedPort>"
        return ENVELOPE.format(f"<u:{action}Response>{said}</u:{action}Response>").encode()


class Machine:
    """A lease, the router, and a clock between them."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.now = 1000.0
        self.sent: list[Send | Fetch] = []
        self.altered: Callable[[bytes], bytes] = lambda data: data
        self.web = router.page

        def entropy(size: int) -> bytes:
            return Random(7).randbytes(size)

        arguments = (ADDRESS, OWN, PORT)
        self.speakers = [
            PcpSpeaker(*arguments, entropy),
            NatPmpSpeaker(*arguments),
            IgdSpeaker(*arguments, entropy),
        ]
        self.lease = Lease(self.speakers, Random(3))

    def do(self, outputs: list[Send | Fetch]) -> None:
        """Carry out what the lease wants, at once."""
        for output in outputs:
            self.sent.append(output)
            if isinstance(output, Fetch):
                self.do(self.lease.fetched(output.number, self.web(output), self.now))
                continue
            for data, source in self.router.answer(output, self.now):
                self.do(self.lease.received(self.altered(data), source, self.now))

    def start(self) -> None:
        """Begin, and go on for five seconds."""
        self.do(self.lease.start(self.now))
        self.run(5)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        for _ in range(100_000):
            deadline = self.lease.deadline
            if deadline is None or deadline > until:
                self.now = until
                return
            self.now = max(self.now, deadline)
            self.do(self.lease.expire(self.now))
        raise AssertionError("time stands still")

    @property
    def held(self) -> tuple[str, str] | None:
        """What is mapped, and by what."""
        mapping = self.lease.mapping
        return None if mapping is None else (mapping.protocol, str(mapping.external))
