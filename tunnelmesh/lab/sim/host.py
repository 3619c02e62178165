"""A machine on the simulated internet."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from tunnelmesh.lab.sim.bindings import Bindings
from tunnelmesh.lab.sim.datagrams import DatagramPort
from tunnelmesh.lab.sim.network import Network, Node, World
from tunnelmesh.lab.sim.packet import Packet
from tunnelmesh.lab.sim.reactor import Reactor, is_loopback
from tunnelmesh.lab.sim.segment import Segment
from tunnelmesh.lab.sim.sockets import Sockets
from tunnelmesh.lab.sim.tunnel import TunnelDevice
from tunnelmesh.wire.endpoint import Endpoint

#: Bytes of data in a TCP segment on Ethernet: 1500 less the IPv4 and TCP headers.
MSS = 1460

#: Bytes that a TCP connection keeps for a slow reader.
TCP_WINDOW = 256 * 1024


@implementer(IReactorUDP)
class Host(Reactor, Node):
    """A machine: what its services are given as the reactor.

    :ivar watchers: called after the machine's addresses have changed, or it has woken up.
    """

    def __init__(self, world: World, name: str, addresses: tuple[str, ...]) -> None:
        Reactor.__init__(self, world.clock, world.names, addresses)
        Node.__init__(self, world, name, addresses)
        random = world.random_for(f"host {name}")
        self.datagram_ports: Bindings[DatagramPort] = Bindings(random)
        self.sockets = Sockets(self, self._send_segment, self.source_for, random, MSS, TCP_WINDOW)
        self.watchers: list[Callable[[], None]] = []
        self._tunnels: list[TunnelDevice] = []
        self._crashed = False

    # IReactorUDP

    def listenUDP(
        self,
        port: int,
        protocol: DatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,
    ) -> DatagramPort:
        opened = DatagramPort(self, Endpoint(interface or "0.0.0.0", port), protocol, maxPacketSize)
        opened.startListening()
        return opened

    # Packets.

    def send_datagram(self, bound: Endpoint, destination: Endpoint, datagram: bytes) -> None:
        """Send a datagram from a port that is bound to an address or to all."""
        host = bound.host
        if host in ("0.0.0.0", "::"):
            host = self.source_for(destination.host) or host
        self._send(Packet("udp", Endpoint(host, bound.port), destination, datagram))

    def _send_segment(self, source: Endpoint, destination: Endpoint, segment: Segment) -> None:
        self._send(Packet("tcp", source, destination, segment))

    def _send(self, packet: Packet) -> None:
        if self._crashed or self.asleep:
            return
        destination = packet.destination.host
        if is_loopback(destination) or destination in self.addresses:
            self.clock.at(self.seconds(), self._deliver, packet)
        elif packet.source.host not in self.addresses:
            self.world.note(self.name, "the source address is gone", packet)
        else:
            self.world.note(self.name, "sent", packet)
            self.transmit(packet)

    def source_for(self, destination: str) -> str | None:
        """This machine's address that packets to *destination* have, or None without one."""
        if is_loopback(destination):
            return destination
        return next((a for a in self.addresses if (":" in a) == (":" in destination)), None)

    def receive(self, packet: Packet) -> None:
        if self._crashed or self.asleep:
            self.world.note(self.name, "down", packet)
        elif packet.destination.host not in self.addresses:
            self.world.note(self.name, "not its address", packet)
        else:
            self.world.note(self.name, "received", packet)
            self._deliver(packet)

    def _deliver(self, packet: Packet) -> None:
        payload = packet.payload
        if isinstance(payload, Segment):
            self.sockets.receive(packet.source, packet.destination, payload)
            return
        port = self.datagram_ports.find(packet.destination)
        if port is not None:
            port.received(payload, packet.source)

    # What can happen to a machine.

    @property
    def asleep(self) -> bool:
        """Whether the lid is closed."""
        return self.wakes > self.seconds()

    def sleep(self, seconds: float) -> None:
        """Close the lid: no timer runs and no packet moves until it is opened."""
        self.wakes = self.seconds() + seconds
        self.clock.at(self.wakes, self._notice)

    def move_to(self, network: Network, *addresses: str) -> None:
        """Plug into another network, with other addresses there.

        Sockets stay. Those that are bound to an old address, and TCP connections, which always
        are, send nothing any more.
        """
        self.unplug()
        self.addresses = addresses
        network.attach(self)
        self._notice()

    def _notice(self) -> None:
        for watcher in list(self.watchers):
            watcher()

    def unplug(self) -> None:
        """Pull the cable."""
        if self.network is not None:
            self.network.detach(self)

    def crash(self) -> None:
        """Lose power: nobody is told anything. :meth:`boot` starts it again, empty."""
        self._crashed = True
        self._end(told=False)

    def boot(self) -> None:
        """Come back after :meth:`crash`, with nothing running."""
        self._crashed = False

    def kill(self) -> None:
        """End its processes as ``kill -9`` does: TCP connections are reset, ports are free."""
        self._end(told=True)

    def stop(self) -> None:
        """What a program calls to end itself, as ``reactor.stop``."""
        self.callLater(0, self.kill)

    def _end(self, told: bool) -> None:
        for call in self.getDelayedCalls():
            call.cancel()
        for port in self.datagram_ports.clear():
            port.connected = False
        for device in self._tunnels:
            device.stop()
        self._tunnels.clear()
        self.sockets.drop_all(told)
        self.watchers.clear()

    def tunnel_device(self, name: str = "tm0", mtu: int = 1420) -> TunnelDevice:
        """A TUN device for a peer on this machine; its far side is an :class:`InnerHost`."""
        device = TunnelDevice(self, name, mtu)
        self._tunnels.append(device)
        return device
