"""A gateway: a NAT or a firewall, with a network behind it."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import ip_address

from tunnelmesh.errors import LabError
from tunnelmesh.lab.sim.allocation import PortChoice
from tunnelmesh.lab.sim.behaviour import TCP_LIFETIME, Behaviour, Dependence, behaviour
from tunnelmesh.lab.sim.host import Host
from tunnelmesh.lab.sim.link import Link
from tunnelmesh.lab.sim.network import Network, Node, World
from tunnelmesh.lab.sim.packet import Packet, Protocol
from tunnelmesh.lab.sim.proxy import Proxy
from tunnelmesh.lab.sim.translation import Translation

#: Seconds across a home's or an office's own network.
LAN_LATENCY = 0.0005

#: Where proxies let ``CONNECT`` go: HTTPS, and the coordinator's usual port for it.
HTTPS_PORTS = frozenset({443, 8443})


class Nat(Node, Network):
    """A gateway of some :class:`Behaviour`.

    IPv4 is translated as the behaviour says, unless it does not translate; then, and for IPv6
    always, packets are only filtered. TCP keeps its port where that is free, and lets in answers
    only, as Linux does, whatever the kind does to UDP.

    :ivar behaviour: what it does now; see :meth:`change`.
    """

    def __init__(self, world: World, address: str, kind: str, **changes: object) -> None:
        described = _with(behaviour(kind), changes)
        Node.__init__(self, world, f"nat {address}", _pool(address, described.pool))
        Network.__init__(self, world, Link(latency=LAN_LATENCY))
        self._random = world.random_for(self.name)
        self._exempt: set[str] = set()
        self._blocks_udp = False
        self._blocked_tcp: set[int] = set()
        self.behaviour = described
        self.forget()

    @property
    def address(self) -> str:
        """The external address, the first one of a pool."""
        return self.addresses[0]

    # Building.

    def host(self, *addresses: str, name: str = "") -> Host:
        """A machine behind the gateway.

        :param addresses: its addresses; none means 192.168.1.2 and so on behind a NAT, and the
            gateway's own public address behind a firewall, which then has none itself.
        """
        if not addresses:
            addresses = (self._next_address(),)
        return super().host(*addresses, name=name)

    def proxy(
        self,
        address: str = "192.168.1.1",
        port: int = 3128,
        login: tuple[str, str] | None = None,
        ports: frozenset[int] = HTTPS_PORTS,
    ) -> Proxy:
        """An HTTP proxy for the machines inside, which the gateway lets out itself.

        :param login: the user name and password that it asks for, or None.
        :param ports: where it lets ``CONNECT`` go.
        """
        host = self.host(address, name=f"proxy {address}")
        self._exempt.add(address)
        return Proxy(host, port, login, ports)

    def _next_address(self) -> str:
        if not self.behaviour.translates:
            return self.address
        return next(a for n in range(2, 255) if (a := f"192.168.1.{n}") not in self._nodes)

    def route(self, address: str, node: Node) -> None:
        super().route(address, node)
        if self.network is not None and self._is_public(address):
            self.network.route(address, self)

    def unroute(self, address: str) -> None:
        super().unroute(address)
        if self.network is not None and self._is_public(address):
            self.network.unroute(address)

    def _is_public(self, address: str) -> bool:
        """Whether others reach an inside address through here, as it is."""
        return self._is_routed(address) and address not in self.addresses

    def _is_routed(self, address: str) -> bool:
        return ":" in address or not self.behaviour.translates

    # Live changes.

    def change(self, kind: str, **changes: object) -> None:
        """Become another kind; every mapping is forgotten.

        :raises LabError: between kinds that translate and kinds that do not, because the machines
            inside would need other addresses: move them instead.
        """
        new = _with(behaviour(kind), changes)
        if new.translates != self.behaviour.translates:
            raise LabError(f"a gateway cannot become {kind} with machines behind it: move them")
        if new.pool != self.behaviour.pool:
            raise LabError("a gateway keeps its number of addresses")
        self.behaviour = new
        self.forget()

    def forget(self) -> None:
        """Lose every mapping, as a restart does."""
        b, random = self.behaviour, self._random
        here = self.addresses
        same: Dependence = "endpoint-independent"
        tracks: Dependence = "address-and-port-dependent"
        filters: Dependence = tracks if b.translates else b.filtering
        ports = PortChoice(b.ports, b.step, b.block, b.others, random)
        kept = PortChoice("preserve", 1, None, 0.0, random)
        self._translated = {
            "udp": Translation(here, b.mapping, b.filtering, ports, b.lifetime, random),
            "tcp": Translation(here[:1], same, tracks, kept, TCP_LIFETIME, random),
        }
        self._filtered = {
            "udp": Translation((), same, filters, kept, b.lifetime, random),
            "tcp": Translation((), same, filters, kept, TCP_LIFETIME, random),
        }

    def block(self, udp: bool = False, tcp_port: int | None = None) -> None:
        """Let no more UDP through, or no more TCP to or from a port."""
        self._blocks_udp |= udp
        if tcp_port is not None:
            self._blocked_tcp.add(tcp_port)

    def unblock(self, udp: bool = False, tcp_port: int | None = None) -> None:
        """Undo :meth:`block`."""
        self._blocks_udp &= not udp
        if tcp_port is not None:
            self._blocked_tcp.discard(tcp_port)

    def roam(self, address: str) -> None:
        """Get another external address; every mapping is forgotten.

        Public addresses inside stay, and are reached as before.
        """
        network = self.network
        assert network is not None
        network.detach(self)
        self.addresses = _pool(address, self.behaviour.pool)
        network.attach(self)
        for inside in filter(self._is_public, self._nodes):
            network.route(inside, self)
        self.forget()

    # Packets.

    def forward(self, packet: Packet) -> None:
        """A packet from inside."""
        destination = packet.destination
        neighbour = self._nodes.get(destination.host)
        if neighbour is not None:
            neighbour.hand_down(packet)
            return
        if not self._lets_out(packet):
            self.world.note(self.name, "blocked", packet)
            return
        source = self._table(packet.source.host, packet.protocol).outbound(
            packet.source, destination, self.world.clock.seconds()
        )
        if source is None:
            self.world.note(self.name, "no external port is free", packet)
        elif destination.host not in self.addresses:
            self.transmit(packet._replace(source=source))
        elif self.behaviour.hairpin:
            self.receive(packet._replace(source=source))
        else:
            self.world.note(self.name, "no hairpin", packet)

    def receive(self, packet: Packet) -> None:
        """A packet from outside."""
        inner = self._table(packet.destination.host, packet.protocol).inbound(
            packet.destination, packet.source, self.world.clock.seconds()
        )
        if inner is None:
            self.world.note(self.name, "filtered", packet)
            return
        node = self._nodes.get(inner.host)
        if node is None:
            self.world.note(self.name, "nobody there", packet)
        elif self._blocks(packet.protocol, packet.source.port) and inner.host not in self._exempt:
            self.world.note(self.name, "blocked", packet)
        else:
            node.hand_down(packet._replace(destination=inner))

    def _table(self, host: str, protocol: Protocol) -> Translation:
        return (self._filtered if self._is_routed(host) else self._translated)[protocol]

    def _lets_out(self, packet: Packet) -> bool:
        if packet.source.host in self._exempt:
            return True
        allowed = self.behaviour.tcp
        port = packet.destination.port
        if packet.protocol == "tcp" and allowed is not None and port not in allowed:
            return False
        return not self._blocks(packet.protocol, port)

    def _blocks(self, protocol: Protocol, port: int) -> bool:
        if protocol == "udp":
            return self._blocks_udp or not self.behaviour.udp
        return port in self._blocked_tcp


def _pool(first: str, size: int) -> tuple[str, ...]:
    """So many addresses from that one on."""
    return tuple(str(ip_address(first) + n) for n in range(size))


def _with(behaviour: Behaviour, changes: dict[str, object]) -> Behaviour:
    known = {field.name for field in fields(Behaviour)}
    for name in changes.keys() - known:
        raise LabError(f"a gateway has no {name!r}; it has {', '.join(sorted(known))}")
    return replace(behaviour, **changes)  # type: ignore[arg-type]
