"""A peer that has joined a mesh: its parts, wired together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from ipaddress import IPv6Interface
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from tunnelmesh.config import PeerConfig
from tunnelmesh.errors import DeviceError, LinkError
from tunnelmesh.identity import Identity, mesh_address6, mesh_network6
from tunnelmesh.noise.device import Device
from tunnelmesh.paths.health import Health
from tunnelmesh.peer.access import Access
from tunnelmesh.peer.crossing import Crossing
from tunnelmesh.peer.known_peers import KnownPeers
from tunnelmesh.peer.link.coordinator_link import CoordinatorLink
from tunnelmesh.peer.link.egress import Egress, Route, Whereabouts
from tunnelmesh.peer.membership import Membership
from tunnelmesh.peer.mesh import Mesh
from tunnelmesh.peer.naming import Naming
from tunnelmesh.peer.pair.bulk import abilities
from tunnelmesh.peer.pair.hard_punch import HardPunching
from tunnelmesh.peer.pair.surroundings import Surroundings
from tunnelmesh.peer.reach.forwards import Forwards
from tunnelmesh.peer.reach.network import Network
from tunnelmesh.peer.reach.port_mapping import PortMapping
from tunnelmesh.peer.reach.tcp_reach import TcpReach
from tunnelmesh.peer.reporting import Reporting
from tunnelmesh.peer.standing import Standing
from tunnelmesh.peer.streams import Streams
from tunnelmesh.peer.system import System
from tunnelmesh.streams.local import FILE_NAME, LocalSocket
from tunnelmesh.streams.proxies import Proxies
from tunnelmesh.transports.dual_stack import DualStack
from tunnelmesh.transports.relay import RelayTransport
from tunnelmesh.wire.administration import Renamed, Watch
from tunnelmesh.wire.signal import Allocation, Describe, Prepare, Prepared, Refused, Signal, Welcome

MTU = 1420
"""Bytes of the largest packet in the tunnel, as WireGuard's default: 1,500 less 80 of overhead over
IPv6."""

SOFTWARE = "TunnelMesh 0.1"

_log = Logger()


class Node:
    """A peer that has joined: its parts, and what passes between them.

    :param expelled: is called when this machine is no member any more, with what to do.
    :ivar standing: its own place in the mesh.
    """

    def __init__(
        self,
        config: PeerConfig,
        reactor: Any,
        system: System,
        identity: Identity,
        membership: Membership,
        expelled: Callable[[LinkError], None],
    ) -> None:
        self.config = config
        self.identity = identity
        self.membership = membership
        self.mode = "userspace"
        self._reactor = reactor
        self._system = system
        token = count(system.random.getrandbits(48))
        device = Device(
            identity.x25519_private,
            entropy=system.entropy,
            random=system.random,
            wall=system.unix_time,
        )
        self.tunnel_device = device
        self.udp = DualStack(self)
        relay = RelayTransport()
        self.network = Network(
            reactor, self.udp, system.addresses, system.entropy, self._network_known
        )
        mapping = PortMapping(
            reactor, system.route, system.entropy, system.random, self._forwards_changed
        )
        asked = None if config.no_port_mapping else mapping
        self.forwards = Forwards(reactor, asked, config.advertise, self._forwards_changed)
        self.tcp = TcpReach(
            reactor,
            lambda: self.network.servers,
            system.entropy,
            self._tcp_changed,
            self.datagrams_received,
        )
        self.hard = HardPunching(
            reactor,
            self.udp,
            self,
            lambda: next(token),
            system.random,
            lambda: self.link.well_rtt,
            lambda: self.link.check(),
        )
        network6 = mesh_network6(membership.coordinator_key)
        address6 = mesh_address6(network6, identity.public_key)
        self.interface6 = IPv6Interface((address6, network6.prefixlen))
        around = Surroundings(
            reactor=reactor,
            random=system.random,
            entropy=system.entropy,
            tokens=lambda: next(token),
            private_key=identity.x25519_private,
            interface=membership.interface,
            interface6=self.interface6,
            device=device,
            udp=self.udp,
            relay=relay,
            signal=lambda message: self.link.send(message),
            met=self.network.refresh,
            path_failed=self._path_failed,
            avoid=lambda: self.network.servers,
            own=self.describe,
            received=self.datagrams_received,
            tcp=self.tcp,
            relay_only=config.relay_only,
            relay_only_peers=config.relay_only_peers,
            direct_only_peers=config.direct_only_peers,
            abilities=abilities(system.ciphers, config.bulk),
            whole_records=config.bulk == "auto",
            hard=self.hard,
            access=Access(config.state_dir),
            path_changed=lambda: self.reporting.path_changed(),
        )
        self.mesh = Mesh(around, KnownPeers(config.state_dir), self.network.stun_received)
        self.naming = Naming(reactor, self, system.environment)
        self.streams = Streams(reactor, self.mesh.members, config.expose, system.unix_time)
        self.mesh.switch.streamed = self.streams.received
        self.streams.allowed = self.mesh.admits
        networks = membership.interface.network, network6
        self.proxies = Proxies(reactor, self.streams, networks, config.socks, config.http_proxy)
        self.local = LocalSocket(reactor, config.state_dir / FILE_NAME, self.streams)
        where = whereabouts(membership)
        self.egress = Egress(reactor, where, config.proxy, system.environment)
        self.link = CoordinatorLink(
            reactor,
            identity,
            where,
            self.egress,
            SOFTWARE,
            lambda: next(token),
            relay,
            self,
            system.random.random,
        )
        relay.sent = self.link.relay_sent
        self.standing = Standing(self, reactor, expelled)
        self.reporting = Reporting(reactor, lambda: self.mesh.members, self.link.send)
        self._outside: str | None = None
        self._watch = system.watch(reactor, self.network_changed)

    def now(self) -> float:
        """The clock's seconds."""
        return float(self._reactor.seconds())

    def unix_time(self) -> float:
        """Seconds since the epoch."""
        return self._system.unix_time()

    @property
    def tunnel_counters(self) -> dict[str, int]:
        """Datagrams that the tunnel dropped, by reason."""
        return asdict(self.tunnel_device.counters)

    def start(self) -> None:
        """Open the device and the socket, and begin to look for the coordinator.

        :raises TunnelMeshError: if one of them cannot be had.
        """
        self._open_device()
        self.udp.open(self._reactor, self.config.udp_port)
        self.proxies.start()
        self.local.start()
        if not self.config.relay_only:
            self.network.use_servers([self.membership.host], self.membership.stun_ports)
            self.forwards.start(self.udp.local_port)
        self.link.userspace = self.mode == "userspace"
        self.link.startService()
        self._watch.start()

    def stop(self) -> Deferred[None]:
        """Close everything; fires when the router has heard of it, or soon."""
        self._watch.stop()
        self.link.stopService()
        self.network.stop()
        self.hard.stop()
        self.reporting.stop()
        self.tcp.stop()
        self.naming.stop()
        self.proxies.stop()
        self.local.stop()
        self.streams.close()
        self.udp.close()
        self.mesh.close()
        return self.forwards.stop()

    def network_changed(self) -> None:
        """The machine's addresses or routes changed."""
        _log.info("this machine's network changed")
        self.link.network_changed()
        self.network.restart()
        self.tcp.restart()
        self.forwards.restart()
        self.mesh.network_changed()

    # Datagrams from the UDP socket.

    def datagrams_received(self, datagrams: Sequence[bytes], path: Any) -> None:
        """See :class:`~tunnelmesh.interfaces.IPathUser`."""
        self.mesh.switch.datagrams_received(datagrams, path)

    def run_received(self, messages: memoryview, segment: int, path: Any) -> None:
        """See :class:`~tunnelmesh.interfaces.IPathUser`."""
        self.mesh.switch.run_received(messages, segment, path)

    # LinkUser.

    def link_up(self, welcome: Welcome, before: Route | None, failed: Health | None) -> None:
        """A link to the coordinator is in use."""
        if not self.config.relay_only:
            hosts = [self.membership.host, welcome.host6]
            self.network.use_servers(list(filter(None, hosts)), welcome.stun_ports)
        if welcome.stun_ports != self.membership.stun_ports:
            self.membership = replace(self.membership, stun_ports=welcome.stun_ports)
            self.standing.remember()
        self.standing.called(welcome.name)
        self.mesh.members.roster_follows()
        self.link.send(self.describe())
        outside = welcome.observed.rpartition(":")[0]
        if self._outside not in (None, outside):
            # The router has another address, and with it another mapping for us.
            self.network.restart()
            self.mesh.network_changed()
        self._outside = outside
        self.forwards.check()  # a restart of the router may have been what cut the link
        if before is None:
            self.mesh.members.linked(True)
        else:
            self.mesh.link_changed(before.kind, failed)

    def link_down(self, reason: str) -> None:
        """There is none any more."""
        self.reporting.stop()
        self.mesh.members.linked(False)

    def expelled(self, message: Refused) -> None:
        """This machine is no member any more."""
        self.standing.refused(message)

    def signal_received(self, message: Signal) -> None:
        """The coordinator says something."""
        if isinstance(message, Prepare):
            self._prepare(message.meeting)
        elif isinstance(message, Renamed):
            self.standing.renamed(message)
        elif isinstance(message, Watch):
            if not self.config.no_reports:
                self.reporting.watch(message)
        else:
            self.mesh.signal_received(message)

    def relayed(self, address: bytes, datagrams: Sequence[bytes]) -> None:
        """The coordinator relays something."""
        self.mesh.switch.relayed(address, datagrams)

    # What this machine tells of itself.

    def describe(self) -> Describe:
        """What others may know of this machine's network."""
        route = self.link.route
        link = "" if route is None else route.kind
        proxied = route is not None and route.proxy is not None
        if self.config.relay_only:
            return Describe((), link=link, proxied=proxied, relay_only=True)
        behaviour = self.network.behaviour
        return Describe(
            self.network.candidates,
            mapping=str(behaviour.mapping),
            filtering=str(behaviour.filtering),
            flavour=str(behaviour.flavour),
            external=behaviour.external,
            ports=tuple(sample.port for sample in behaviour.samples),
            link=link,
            proxied=proxied,
            tcp=self.tcp.external,
            allocation=behaviour.allocation,
        )

    def _prepare(self, meeting: int) -> None:
        """See where the NAT will put the sockets of a hard punch."""

        def ready(allocation: Allocation, age: float) -> None:
            external = self.network.behaviour.external
            self.link.send(Prepared(meeting, external, allocation, age))

        if not self.config.relay_only:
            self.network.prepare(ready)

    def _path_failed(self) -> None:
        self.network.verify()
        self.forwards.check()

    def _forwards_changed(self) -> None:
        self.network.forwarded = self.forwards.endpoints
        self._network_known()

    def _network_known(self) -> None:
        self.link.send(self.describe())
        self.mesh.reachability_changed()

    def _tcp_changed(self) -> None:
        self.link.send(self.describe())
        if self.tcp.external is not None:
            self.mesh.reachability_changed()

    def _open_device(self) -> None:
        if self.config.mode == "userspace":
            return
        try:
            device = self._system.open_device(
                self._reactor, self.config.tun_name, self.membership.interface, self.interface6, MTU
            )
        except DeviceError as error:
            if self.config.mode == "tun":
                raise
            _log.warn(
                "no network device: peers are reached by 'tunnelmesh nc', 'tunnelmesh forward' and "
                "proxies (--socks, --http-proxy), and reach what --expose opens: {e}",
                e=error,
            )
            return
        self.mode = "tun"
        for udp in self.udp.four, self.udp.six:
            udp.after_reading = device.collect
            udp.on_lane = self.mesh.switch.record_received
        self.mesh.switch.crossing = Crossing(
            self._reactor,
            self._system.inside(self._reactor),
            self.streams,
            device,
            (self.membership.interface.ip, self.interface6.ip),
            self.mesh.dropped,
        )
        inside = self._system.inside(self._reactor)
        self.streams.serve(inside, str(self.membership.interface.ip))
        self.mesh.switch.use(device)
        self.naming.start(device.name)


def whereabouts(membership: Membership) -> Whereabouts:
    """Where the coordinator of a membership is."""
    return Whereabouts(
        membership.host,
        membership.https_port,
        membership.ssh_port,
        membership.coordinator_key,
        membership.tls_by_name,
    )
