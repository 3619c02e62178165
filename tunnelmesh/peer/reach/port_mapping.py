"""Have the router forward a port to this machine: sockets and timers for the lease of it."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorMulticast
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from tunnelmesh.errors import TunnelMeshError
from tunnelmesh.interfaces import IPath
from tunnelmesh.nat.candidates import is_inner
from tunnelmesh.nat.query import Send
from tunnelmesh.peer.reach.default_route import DefaultRoute
from tunnelmesh.peer.timer import Timer
from tunnelmesh.transports.udp import UdpTransport
from tunnelmesh.wire.endpoint import Endpoint

if TYPE_CHECKING:
    from tunnelmesh.nat.portmap.lease import Lease
    from tunnelmesh.nat.portmap.speaker import Fetch
    from tunnelmesh.peer.reach.router_web import RouterWeb

ANNOUNCED = 5350
"""The port to which routers announce that they have restarted (RFC 6887 §14.1.2, RFC 6886 §3.2.1).
They do so to all hosts of the LAN, a group that every machine is in."""

RELEASE_PATIENCE = 1.0
"""Seconds that the end of the process may wait for the router to remove the mapping."""

_log = Logger()


class PortMapping:
    """A UDP port of the router's, forwarded to ours.

    :param route: tells the way out, where there is one.
    :param changed: called when the mapping has come, gone or moved.
    """

    def __init__(
        self,
        reactor: Any,
        route: Callable[[], DefaultRoute | None],
        entropy: Callable[[int], bytes],
        random: Random,
        changed: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._find_route = route
        self._entropy = entropy
        self._random = random
        self._changed = changed
        self._port = 0
        self._route: DefaultRoute | None = None
        self._lease: Lease | None = None
        self._why_not = "not asked for"
        self._socket = UdpTransport(self)
        self._announcements: Any = None
        self._timer = Timer(reactor, self._expired)
        self._told: Endpoint | None = None
        self._given_back: Deferred[None] | None = None
        self._ended = False

    @cached_property
    def _web(self) -> RouterWeb:
        # Imported here because only routers that speak UPnP need it.
        from tunnelmesh.peer.reach.router_web import RouterWeb

        return RouterWeb(self._reactor)

    @property
    def external(self) -> Endpoint | None:
        """What the router forwards to us now."""
        mapping = None if self._lease is None else self._lease.mapping
        return None if mapping is None else mapping.external

    @property
    def is_settled(self) -> bool:
        """Whether it is known what the router does."""
        return self._lease is None or self._lease.is_settled

    def start(self, port: int) -> None:
        """Have *port* mapped, for as long as this runs.

        Nothing depends on it: what keeps it from working is told by :meth:`described`.
        """
        self._port = port
        try:
            self._socket.open(self._reactor, 0)
        except TunnelMeshError as error:
            self._why_not = str(error)
            return
        if IReactorMulticast.providedBy(self._reactor):
            try:
                self._announcements = self._reactor.listenMulticast(
                    ANNOUNCED, _Announcements(self), listenMultiple=True
                )
            except CannotListenError as error:
                _log.info("restarts of the router are not heard of: {error}", error=error)
        self.restart()

    def restart(self) -> None:
        """The network may be another one now."""
        if not self._port or self._given_back is not None:
            return
        route = self._find_route()
        if route is not None and route == self._route and self._lease is not None:
            self.check()
            return
        self._route, self._lease = route, None
        self._timer.cancel()
        if route is None:
            self._why_not = "there is no router"
        elif not is_inner(route.own):
            self._why_not = "this machine has a public address"
        else:
            self._begin(route)
        self._tell()

    def check(self) -> None:
        """The router may have restarted, and lost the mapping."""
        if self._lease is not None and self._given_back is None:
            self._do(self._lease.check(self._now()))

    def look(self) -> None:
        """Somebody wants to know what the router does now."""
        if self._lease is not None and self._given_back is None:
            self._do(self._lease.look(self._now()))

    def stop(self) -> Deferred[None]:
        """Give the port back; fires when that is done, or has taken too long."""
        if self._given_back is not None:
            return succeed(None)
        given_back: Deferred[None] = Deferred()
        self._given_back = given_back
        if self._lease is not None:
            self._do(self._lease.stop(self._now()))
        if self._lease is None:
            self._end()
        if not self._ended:
            late = self._reactor.callLater(RELEASE_PATIENCE, self._end)
            given_back.addCallback(lambda _: late.cancel() if late.active() else None)
        return given_back

    def described(self) -> dict[str, Any]:
        """For JSON: what is mapped, or why nothing is."""
        mapping = None if self._lease is None else self._lease.mapping
        found: dict[str, Any] = {
            "protocol": None,
            "external": None,
            "lifetime_s": None,
            "router": None if self._route is None else self._route.router,
            "why_not": {} if self._lease is None else self._lease.troubles,
        }
        if mapping is not None:
            left = None if mapping.until == inf else round(mapping.until - self._now())
            found["protocol"] = mapping.protocol
            found["external"] = str(mapping.external)
            found["lifetime_s"] = left
            if is_inner(mapping.external.host):
                found["why_not"]["internet"] = "the router is itself behind another NAT"
        elif self._lease is None:
            found["why_not"] = {"router": self._why_not}
        return found

    def datagrams_received(self, datagrams: Sequence[bytes], path: IPath) -> None:
        """Something came to our socket: answers, if they are from the router."""
        for datagram in datagrams:
            self.received(datagram, path.remote)

    def run_received(self, messages: memoryview, segment: int, path: IPath) -> None:
        """Nobody sends such here."""

    def received(self, datagram: bytes, source: Endpoint) -> None:
        """Somebody on the LAN says something."""
        if self._lease is not None:
            self._do(self._lease.received(datagram, source, self._now()))

    def _begin(self, route: DefaultRoute) -> None:
        # Imported here because many servers have a public address, and no router to speak with.
        from tunnelmesh.nat.portmap.igd_speaker import IgdSpeaker
        from tunnelmesh.nat.portmap.lease import Lease
        from tunnelmesh.nat.portmap.natpmp_speaker import NatPmpSpeaker
        from tunnelmesh.nat.portmap.pcp_speaker import PcpSpeaker

        router, own, port = route.router, route.own, self._port
        self._lease = Lease(
            [
                PcpSpeaker(router, own, port, self._entropy),
                NatPmpSpeaker(router, own, port),
                IgdSpeaker(router, own, port, self._entropy),
            ],
            self._random,
        )
        self._do(self._lease.start(self._now()))

    def _now(self) -> float:
        return float(self._reactor.seconds())

    def _expired(self) -> None:
        if self._lease is not None:
            self._do(self._lease.expire(self._now()))

    def _do(self, outputs: Sequence[Send | Fetch]) -> None:
        lease = self._lease
        assert lease is not None
        for output in outputs:
            if isinstance(output, Send):
                self._socket.send([output.datagram], output.to)
            else:
                Deferred.fromCoroutine(self._fetch(lease, output))
        self._timer.set(lease.deadline)
        self._tell()
        if self._given_back is not None and lease.is_over:
            self._end()

    async def _fetch(self, lease: Lease, asked: Fetch) -> None:
        document = await self._web.fetch(asked)
        if lease is self._lease:
            self._do(lease.fetched(asked.number, document, self._now()))

    def _tell(self) -> None:
        external = self.external
        if external == self._told or self._given_back is not None:
            return
        if external is None:
            _log.info("the router forwards {before} no more", before=self._told)
        else:
            protocol = self.described()["protocol"]
            _log.info("the router forwards {external} ({by})", external=external, by=protocol)
        self._told = external
        self._changed()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._timer.cancel()
        self._lease = None
        self._socket.close()
        if self._announcements is not None:
            self._announcements.stopListening()
        assert self._given_back is not None
        self._given_back.callback(None)


class _Announcements(DatagramProtocol):
    """Hears what routers say to everybody."""

    noisy = False

    def __init__(self, mapping: PortMapping) -> None:
        self._mapping = mapping

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Somebody said something."""
        self._mapping.received(datagram, Endpoint(addr[0], addr[1]))
