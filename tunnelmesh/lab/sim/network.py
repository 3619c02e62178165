"""Networks, and what is attached to them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from tunnelmesh.errors import LabError
from tunnelmesh.lab.sim.clock import Clock
from tunnelmesh.lab.sim.link import Link
from tunnelmesh.lab.sim.packet import Packet
from tunnelmesh.lab.sim.trace import Trace

if TYPE_CHECKING:
    from tunnelmesh.lab.sim.host import Host
    from tunnelmesh.lab.sim.nat import Nat

_UP, _DOWN = 0, 1


class World:
    """What everything in one simulation shares.

    :ivar clock: its time.
    :ivar seed: where all its randomness comes from.
    :ivar trace: what happened to the last packets.
    :ivar names: the addresses of each name.
    """

    def __init__(self, seed: int) -> None:
        self.clock = Clock()
        self.seed = seed
        self.trace = Trace()
        self.names: dict[str, tuple[str, ...]] = {}
        self.line_random = self.random_for("lines")

    def random_for(self, purpose: str) -> Random:
        """A source of randomness of its own, so that one user does not disturb another."""
        return Random(f"{self.seed} {purpose}")

    def note(self, place: str, what: str, packet: Packet) -> None:
        """Put an event into the trace."""
        self.trace.add(self.clock.elapsed, place, what, packet)


class Node:
    """What has addresses and a line to a network.

    :ivar name: for people.
    :ivar uplink: its line to the network; None means the network's usual one.
    :ivar network: None while it is unplugged.
    """

    def __init__(self, world: World, name: str, addresses: tuple[str, ...]) -> None:
        self.world = world
        self.name = name
        self.addresses = addresses
        self.uplink: Link | None = None
        self.network: Network | None = None
        self._line_busy_until = [0.0, 0.0]

    def transmit(self, packet: Packet) -> None:
        """Send a packet up the line."""
        network = self.network
        if network is None:
            self.world.note(self.name, "unplugged", packet)
            return
        self._cross(network, _UP, packet, network.forward)

    def hand_down(self, packet: Packet) -> None:
        """The network sends a packet down the line to this node."""
        if self.network is not None:
            self._cross(self.network, _DOWN, packet, self.receive)

    def receive(self, packet: Packet) -> None:
        """A packet came down the line."""
        raise NotImplementedError

    def _cross(
        self, network: Network, way: int, packet: Packet, arrive: Callable[[Packet], None]
    ) -> None:
        link = self.uplink or network.link
        random = self.world.line_random
        clock = self.world.clock
        if link.loss and random.random() < link.loss:
            self.world.note(self.name, "lost", packet)
            return
        if packet.size > link.mtu:
            self.world.note(self.name, "too large for the line", packet)
            return
        when = clock.seconds() + link.latency
        if link.rate is not None:
            starts = max(clock.seconds(), self._line_busy_until[way])
            if starts - clock.seconds() > link.queue:
                self.world.note(self.name, "the line's queue is full", packet)
                return
            self._line_busy_until[way] = starts + packet.size / link.rate
            when = self._line_busy_until[way] + link.latency
        if link.jitter:
            when += random.random() * link.jitter
        if link.reorder and random.random() < link.reorder:
            when += 3 * link.latency
        clock.at(when, arrive, packet)
        if link.duplicate and random.random() < link.duplicate:
            clock.at(when + link.latency, arrive, packet)


class Network:
    """Where packets are forwarded by their destination address.

    :ivar link: the line of each node that has none of its own.
    """

    def __init__(self, world: World, link: Link) -> None:
        self.world = world
        self.link = link
        self._nodes: dict[str, Node] = {}

    def forward(self, packet: Packet) -> None:
        """A packet came up a node's line: pass it on."""
        raise NotImplementedError

    def attach(self, node: Node) -> None:
        """Plug a node in, under its addresses.

        :raises LabError: if another one has an address of it.
        """
        for address in node.addresses:
            if address in self._nodes:
                raise LabError(f"{self._nodes[address].name} has {address} already")
        node.network = self
        for address in node.addresses:
            self.route(address, node)

    def detach(self, node: Node) -> None:
        """Unplug a node."""
        for address in [a for a, n in self._nodes.items() if n is node]:
            self.unroute(address)
        node.network = None

    def route(self, address: str, node: Node) -> None:
        """Packets for *address* are for *node* from now on."""
        self._nodes[address] = node

    def unroute(self, address: str) -> None:
        """Packets for *address* have nowhere to go from now on."""
        del self._nodes[address]

    def host(self, *addresses: str, name: str = "") -> Host:
        """A machine with these addresses in this network."""
        from tunnelmesh.lab.sim.host import Host

        host = Host(self.world, name or addresses[0], addresses)
        self.attach(host)
        return host

    def nat(self, address: str, kind: str = "port-restricted", **changes: object) -> Nat:
        """A gateway with this address in this network, and a network of its own behind it.

        :param kind: one of :data:`tunnelmesh.lab.sim.behaviour.KINDS`.
        :param changes: fields of :class:`tunnelmesh.lab.sim.behaviour.Behaviour` that differ.
        """
        from tunnelmesh.lab.sim.nat import Nat

        nat = Nat(self.world, address, kind, **changes)
        self.attach(nat)
        return nat
