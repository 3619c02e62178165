"""NATs and STUN servers as plain arithmetic, for the machines to be run against."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from tunnelmesh.coordinator.stun_answer import answer
from tunnelmesh.nat.behaviour import Filtering, Mapping
from tunnelmesh.nat.discovery import Filtered, Mapped, Send
from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.stun import Class, Message

PRIMARY = Endpoint("198.51.100.1", 3478)
SECOND = Endpoint("198.51.100.1", 3479)
ALTERNATE = Endpoint("198.51.100.2", 3479)


class Nat:
    """A NAT, or with ``Mapping.NONE`` a firewall, as RFC 4787 words it.

    :param step: how far a new external port is from the last.
    """

    def __init__(
        self, mapping: Mapping, filtering: Filtering, host: str = "203.0.113.1", step: int = 1
    ) -> None:
        self.mapping = mapping
        self.filtering = filtering
        self.host = host
        self._ports = count(40000, step)
        self._externals: dict[tuple[object, ...], Endpoint] = {}
        self._contacted: dict[Endpoint, set[Endpoint]] = {}

    def send(self, socket: int, to: Endpoint) -> Endpoint:
        """A packet goes out of *socket*: the external endpoint that it leaves from."""
        key: tuple[object, ...] = (socket,)
        if self.mapping is Mapping.ADDRESS_DEPENDENT:
            key = (socket, to.host)
        elif self.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT:
            key = (socket, to)
        if key not in self._externals:
            port = socket if self.mapping is Mapping.NONE else next(self._ports)
            self._externals[key] = Endpoint(self.host, port)
        self._contacted.setdefault(self._externals[key], set()).add(to)
        return self._externals[key]

    def lets_in(self, source: Endpoint, to: Endpoint) -> bool:
        """Whether a packet from *source* to the external endpoint *to* gets in."""
        contacted = self._contacted.get(to, set())
        if self.filtering is Filtering.ENDPOINT_INDEPENDENT:
            return bool(contacted)
        if self.filtering is Filtering.ADDRESS_DEPENDENT:
            return source.host in {each.host for each in contacted}
        return source in contacted


@dataclass
class Server:
    """A STUN server, good or bad.

    :ivar two_addresses: whether it has an alternate address, and says so.
    :ivar obeys: whether it answers from where a CHANGE-REQUEST wants it; else from where it was
        asked, as servers of RFC 8489 alone do.
    :ivar drops_changes: whether it drops requests with a CHANGE-REQUEST.
    :ivar silent: whether it says nothing at all.
    """

    two_addresses: bool = True
    obeys: bool = True
    drops_changes: bool = False
    silent: bool = False

    def answer(self, datagram: bytes, source: Endpoint, to: Endpoint) -> tuple[bytes, Endpoint]:
        """The answer to a request, and from where it is sent; no bytes if there is none."""
        hosts = (PRIMARY.host, ALTERNATE.host if self.two_addresses else PRIMARY.host)
        request = stun.decode(datagram)
        if self.silent or to.host not in hosts or (self.drops_changes and request.change):
            return b"", to
        if not self.obeys:
            request = Message(Class.REQUEST, request.transaction)
        other = Endpoint(hosts[to.host == hosts[0]], PRIMARY.port + SECOND.port - to.port)
        answered = answer(request, source, to, other)
        assert answered is not None
        return stun.encode(answered[0]), answered[1]


@dataclass
class World:
    """One machine on one socket, behind a NAT, and a server.

    :ivar round_trip: seconds there and back.
    :ivar lost: given the number of a packet, whether it is lost on its way.
    :ivar sent: what the machine sent, and when.
    """

    nat: Nat
    server: Server = field(default_factory=Server)
    round_trip: float = 0.05
    lost: Callable[[int], bool] = lambda number: False
    sent: list[tuple[float, Send]] = field(default_factory=list)

    def run(self, machine: Any, socket: int, start: float = 0.0) -> list[tuple[float, Any]]:
        """Run *machine* until its verdict: everything else that it put out, with the time."""
        arriving: list[tuple[float, int, bytes, Endpoint]] = []
        numbers = count()
        told: list[tuple[float, Any]] = []
        now = start
        outputs = machine.start(now)
        while True:
            for output in outputs:
                if not isinstance(output, Send):
                    told.append((round(now - start, 6), output))
                    if isinstance(output, Mapped | Filtered):
                        return told
                    continue
                self.sent.append((round(now - start, 6), output))
                external = self.nat.send(socket, output.to)
                datagram, origin = self.server.answer(output.datagram, external, output.to)
                if datagram and not self.lost(next(numbers)) and self.nat.lets_in(origin, external):
                    packet = (now + self.round_trip, next(numbers), datagram, origin)
                    heapq.heappush(arriving, packet)
            assert machine.deadline is not None, "the machine hangs"
            assert len(self.sent) < 100, "the machine floods"
            if arriving and arriving[0][0] <= machine.deadline:
                now, _, datagram, source = heapq.heappop(arriving)
                outputs = machine.receive(datagram, source, now)
            else:
                now = machine.deadline
                outputs = machine.expire(now)


def punched(a: Nat, b: Nat) -> bool:
    """Whether two peers, who know only what a server saw, come to hear each other."""
    known = {a: b.send(1, PRIMARY), b: a.send(1, PRIMARY)}  # each one's idea of the other
    heard: set[Nat] = set()
    for _ in range(4):
        for sender, receiver in ((a, b), (b, a)):
            source = sender.send(1, known[sender])
            arrives = known[sender]
            if receiver.lets_in(source, arrives):
                heard.add(receiver)
                known[receiver] = source
    return heard == {a, b}


def entropy(seed: int = 0) -> Callable[[int], bytes]:
    """Random bytes, the same ones every time."""
    return Random(seed).randbytes
