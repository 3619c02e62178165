"""What this machine finds out about its own network: its addresses, and the NAT in front of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from tunnelmesh.errors import TunnelMeshError
from tunnelmesh.interfaces import IPath
from tunnelmesh.nat.allocation import Choice, Sample, allocation
from tunnelmesh.nat.behaviour import Mapping, NatBehaviour
from tunnelmesh.nat.candidates import gather
from tunnelmesh.nat.discovery import (
    Filtered,
    FilteringDiscovery,
    Mapped,
    MappingDiscovery,
    Reflexive,
    Send,
    behaviour,
)
from tunnelmesh.peer.reach.port_sampling import PortSampling
from tunnelmesh.peer.reach.reflexive6 import Reflexive6
from tunnelmesh.peer.reach.resolve import addresses_of
from tunnelmesh.peer.timer import Timer
from tunnelmesh.transports.dual_stack import DualStack
from tunnelmesh.transports.udp import UdpTransport
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import UNSAMPLED, Allocation, Candidate

FRESH = 20.0
"""Seconds during which the reflexive endpoint is taken to be still the same: under the thirty after
which the quickest NATs forget a mapping."""

BLOCKED_RETRY = 0.5
"""Seconds between looking whether blocked UDP has come back; each look takes three more."""

BLOCKED_LONG = 60.0
"""Seconds after which UDP counts as blocked for good, and is looked at more rarely."""

BLOCKED_LONG_RETRY = 15.0

MOST_SERVERS = 4
"""STUN ports asked: a coordinator has two, and its word must not make us send to hundreds."""

MOST_PREPARING = 16
"""Meetings that may wait for one look at the NAT."""

_log = Logger()


class Network:
    """The NAT in front of the main UDP socket. Over IPv6 there is hardly ever one.

    :param addresses: gives this machine's own addresses.
    :param changed: called when candidates or behaviour have changed.

    :ivar behaviour: what is known so far.
    :ivar classified: whether that is all there is to know, found since the last :meth:`restart`.
    :ivar local: this machine's own addresses.
    :ivar servers: the coordinator's STUN ports, of both families.
    :ivar forwarded: ports of a router's that lead to the socket, as its owner knows.
    """

    def __init__(
        self,
        reactor: Any,
        udp: DualStack,
        addresses: Callable[[], Sequence[str]],
        entropy: Callable[[int], bytes],
        changed: Callable[[], None],
    ) -> None:
        self.behaviour = NatBehaviour()
        self.classified = False
        self.local: tuple[str, ...] = ()
        self.servers: tuple[Endpoint, ...] = ()
        self.forwarded: tuple[Endpoint, ...] = ()
        self._reactor = reactor
        self._udp = udp
        self._addresses = addresses
        self._entropy = entropy
        self._changed = changed
        self._six = Reflexive6(reactor, udp, entropy, changed)
        self._mapping: MappingDiscovery | None = None
        self._filtering: FilteringDiscovery | None = None
        self._filtering_socket: UdpTransport | None = None
        self._filtered: Filtered | None = None
        self._last: Mapped | None = None
        self._mapped_at: float | None = None
        self._ports = PortSampling(reactor, entropy, self._sampled)
        self._allocation = UNSAMPLED
        self._sampled_at = 0.0
        self._preparing: list[Callable[[Allocation, float], None]] = []
        self._blocked_since: float | None = None
        self._timer = Timer(reactor, self._expired)
        self._filtering_timer = Timer(reactor, self._filtering_expired)
        self._again = Timer(reactor, self._ask)
        self._naming: Deferred[None] = succeed(None)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Where this machine might be reached."""
        return gather(
            self.local,
            self._udp.local_port,
            self.behaviour.external,
            self.forwarded,
            port6=self._udp.local_port6,
            external6=self.external6,
        )

    @property
    def external6(self) -> Endpoint | None:
        """The reflexive endpoint over IPv6, if UDP over IPv6 is known to work."""
        return self._six.endpoint

    def use_servers(self, hosts: Sequence[str], ports: Sequence[int]) -> None:
        """Ask these STUN ports on the coordinator's hosts, beginning now.

        :param hosts: names or addresses; of each family, the first address is asked.
        """
        self._naming.cancel()
        self._naming = Deferred.fromCoroutine(self._use_servers(hosts, ports))

    async def _use_servers(self, hosts: Sequence[str], ports: Sequence[int]) -> None:
        addresses: dict[bool, str] = {}
        for host in hosts:
            try:
                found = await addresses_of(self._reactor, host)
            except CancelledError:
                return
            if not found:
                _log.info("no address for {host}", host=host)
            for address in found:
                addresses.setdefault(":" in address, address)
        valid = [port for port in ports[:MOST_SERVERS] if 0 < port < 65536]
        servers = tuple(Endpoint(a, port) for a in addresses.values() for port in valid)
        if servers != self.servers:
            self.servers = servers
            self.restart()

    def restart(self) -> None:
        """Find out everything anew; what was known holds until then."""
        before, self.local = self.local, tuple(self._addresses())
        self.classified = False
        self._mapped_at = None
        self._mapping = None
        self._ports.stop()
        self._stop_filtering()
        has6 = any(":" in address for address in self.local)
        self._six.ask([server for server in self.servers if ":" in server.host] if has6 else [])
        self.refresh()
        if before and before != self.local:
            self._changed()

    def refresh(self) -> None:
        """Make sure that the reflexive endpoint is a fresh one."""
        if self._mapping is None and not self._is_fresh and self._servers4:
            self._ask()

    def prepare(self, ready: Callable[[Allocation, float], None]) -> None:
        """A hard punch is near: find out where the next mapping will be.

        :param ready: called with how ports are chosen, and the seconds since the last one was.
        """
        if len(self._preparing) >= MOST_PREPARING or not self._servers4:
            return
        self._preparing.append(ready)
        if self._allocation.kind == Choice.SEQUENTIAL:
            self._ports.start(self._servers4[0])
        elif self._is_fresh:
            self._prepared()
        else:
            self.refresh()

    def verify(self) -> None:
        """A path failed: the mapping may have changed however fresh it is."""
        self._mapped_at = None
        self.refresh()

    def stun_received(self, datagrams: Sequence[bytes], path: IPath) -> None:
        """STUN messages arrived at the main socket."""
        if ":" in path.remote.host:
            self._six.stun_received(datagrams, path)
            return
        for datagram in datagrams:
            if self._mapping is not None:
                now = self._now()
                self._perform(self._mapping.receive(datagram, path.remote, now))

    def stop(self) -> None:
        """Stop asking."""
        self._naming.cancel()
        self._six.stop()
        self._timer.cancel()
        self._again.cancel()
        self._mapping = None
        self._ports.stop()
        self._stop_filtering()

    @property
    def _servers4(self) -> list[Endpoint]:
        return [server for server in self.servers if ":" not in server.host]

    @property
    def _is_fresh(self) -> bool:
        return self._mapped_at is not None and self._now() - self._mapped_at < FRESH

    def _now(self) -> float:
        return float(self._reactor.seconds())

    def _prepared(self) -> None:
        preparing, self._preparing = self._preparing, []
        for ready in preparing:
            ready(self._allocation, self._now() - self._sampled_at)

    def _ask(self) -> None:
        self._again.cancel()
        self._mapping = MappingDiscovery(self._servers4, self._entropy)
        self._perform(self._mapping.start(self._now()))

    def _expired(self) -> None:
        if self._mapping is not None:
            self._perform(self._mapping.expire(self._now()))

    def _perform(self, outputs: Sequence[Send | Reflexive | Mapped]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                self._udp.send([output.datagram], output.to)
            elif isinstance(output, Reflexive):
                if self.behaviour.external != output.endpoint:
                    self.behaviour = replace(self.behaviour, external=output.endpoint)
                    self._changed()
            else:
                self._mapped(output)
        self._timer.set(None if self._mapping is None else self._mapping.deadline)

    def _mapped(self, mapped: Mapped) -> None:
        now = self._now()
        self._mapping = None
        self._mapped_at = now
        blocked = mapped.mapping is Mapping.BLOCKED
        if blocked:
            self._blocked_since = now if self._blocked_since is None else self._blocked_since
            long = now - self._blocked_since > BLOCKED_LONG
            delay = BLOCKED_LONG_RETRY if long else BLOCKED_RETRY
            self._again.set(now + delay)
        else:
            self._blocked_since = None
        if not self._is_like(mapped):
            self._filtered = None
            self._allocation = UNSAMPLED
            self.classified = blocked
        self._last = mapped
        self._know()
        if not blocked and not self.classified and self._filtering is None:
            if self.behaviour.maps_by_destination:
                self._ports.start(self._servers4[0])  # undisturbed by what tests the filtering
            else:
                self._start_filtering()
        if not self._ports.running:
            self._prepared()

    def _sampled(self, samples: Sequence[Sample]) -> None:
        """It was seen how the NAT chooses ports."""
        before = self._allocation
        others = [] if self._last is None else self._last.samples
        self._allocation = allocation(samples, others)
        if samples:
            self._sampled_at = samples[-1].at
        if self._allocation.kind != before.kind:
            self._know()
        if not self.classified and self._filtering is None:
            self._start_filtering()
        self._prepared()

    def _is_like(self, mapped: Mapped) -> bool:
        """Whether this is the NAT that was there before, as far as its mapping tells."""
        if self._last is None or self._last.external is None or mapped.external is None:
            return False
        same_host = self._last.external.host == mapped.external.host
        return same_host and self._last.mapping is mapped.mapping

    def _know(self) -> None:
        """Put together what was found, and tell if it is new."""
        assert self._last is not None
        found = behaviour(self._last, self._filtered, self.local)
        before, self.behaviour = self.behaviour, replace(found, allocation=self._chosen(found))
        if replace(before, samples=()) == replace(self.behaviour, samples=()):
            return
        _log.info(
            "NAT: {flavour} (mapping {mapping}, filtering {filtering}, ports {ports}), "
            "external {external}",
            flavour=found.flavour,
            mapping=found.mapping,
            filtering=found.filtering,
            ports=self.behaviour.allocation.kind,
            external=found.external,
        )
        self._changed()

    def _chosen(self, found: NatBehaviour) -> Allocation:
        """How ports are chosen; where one is for all destinations, by the main socket alone."""
        if found.mapping is not Mapping.ENDPOINT_INDEPENDENT or found.external is None:
            return self._allocation
        kept = found.external.port == self._udp.local_port
        return Allocation(Choice.PRESERVED if kept else Choice.ONE)

    def _start_filtering(self) -> None:
        socket = UdpTransport(_FilteringUser(self))
        try:
            socket.open(self._reactor, 0)
        except TunnelMeshError as error:
            _log.info("filtering is not tested: {error}", error=error)
            return
        self._filtering_socket = socket
        self._filtering = FilteringDiscovery(self._servers4, self._entropy)
        self._filter(self._filtering.start(self._now()))

    def _stop_filtering(self) -> None:
        self._filtering_timer.cancel()
        if self._filtering_socket is not None:
            self._filtering_socket.close()
        self._filtering = self._filtering_socket = None

    def filtering_received(self, datagrams: Sequence[bytes], path: IPath) -> None:
        """STUN messages arrived at the socket that tests the filtering."""
        for datagram in datagrams:
            if self._filtering is not None:
                self._filter(self._filtering.receive(datagram, path.remote, self._now()))

    def _filtering_expired(self) -> None:
        if self._filtering is not None:
            self._filter(self._filtering.expire(self._now()))

    def _filter(self, outputs: Sequence[Send | Filtered]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                if self._filtering_socket is not None:
                    self._filtering_socket.send([output.datagram], output.to)
            else:
                self._filtered = output
                self.classified = True
                self._stop_filtering()
                self._know()
        if self._filtering is not None:
            self._filtering_timer.set(self._filtering.deadline)


class _FilteringUser:
    """Receives for the socket that tests the filtering."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def datagrams_received(self, datagrams: Sequence[bytes], path: IPath) -> None:
        self._network.filtering_received(datagrams, path)

    def run_received(self, messages: memoryview, segment: int, path: IPath) -> None:
        """Nobody sends such to this socket."""
