"""How a machine with a device reaches one without: plain TCP becomes streams.

A peer in userspace mode has no TCP of its own to take a packet with. So the connection is ended
here, and by the only TCP there is, the kernel's: each packet that a program sends to such a peer is
turned round (:mod:`tunnelmesh.streams.translation`) and written back into the device it came from,
as if the peer had sent it to a listener of ours; and so are the listener's answers. No byte of
payload is looked at, and a super-packet stays one. What the listener accepts is joined to a stream
inside the encrypted session, as ``tunnelmesh nc`` would be; the kernel's buffers and windows on one
side and the stream's on the other hold back whoever is too fast.

A SYN is answered only when the stream is open, so that a program hears the truth from ``connect``:
refused, if the peer refuses; no route, if it is not there. While the stream opens, which takes a
round trip, the SYN is held and its retransmissions are ignored.

A firewall on this machine sees the connection twice: going out to the peer, and coming in by the
device to the listener. One that lets nothing in by the device breaks it; the log then says so.
"""

# Twisted is partly without annotations.
# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.errors import (
    OfflineError,
    StreamTimeoutError,
    TunnelMeshError,
    UnknownPeerError,
)
from tunnelmesh.interfaces import IStreams, ITunnelDevice
from tunnelmesh.noise.load import TokenBucket
from tunnelmesh.peer.timer import Timer
from tunnelmesh.streams.door import Door, Held
from tunnelmesh.streams.translation import BOTH, LISTENER, PROGRAM, WAITING, Flow, Flows
from tunnelmesh.wire.icmp import HOST_UNREACHABLE, ICMP, ICMP6, PORT_UNREACHABLE, unreachable
from tunnelmesh.wire.tcp import FIN, RST, Segment, read, reset, turn, turned
from tunnelmesh.wire.virtio import HEADER_SIZE

REFUSALS = 100.0
"""ICMP errors a second, and at once, that programs get: enough for each of them to hear."""

_log = Logger()


class Crossing:
    """The way of packets to peers without a device.

    :param inside: the reactor whose sockets can have the mesh addresses.
    :param addresses: this machine's mesh addresses.
    :param dropped: counts packets that nothing comes of, by reason.

    :ivar flows: the connections.
    """

    def __init__(
        self,
        reactor: Any,
        inside: Any,
        streams: IStreams,
        device: ITunnelDevice,
        addresses: tuple[IPv4Address, IPv6Address],
        dropped: Counter[str],
    ) -> None:
        self.flows = Flows()
        self._reactor = reactor
        self._inside = inside
        self._streams = streams
        self._device = device
        # IPv4 and IPv6 are told apart by the length of a packet's two addresses.
        self._addresses = {2 * len(address.packed): address for address in addresses}
        self._doors: dict[int, int] = {}
        self._listeners: list[Any] = []
        self._held: dict[Flow, Held] = {}
        self._dropped = dropped
        self._refusals = TokenBucket(REFUSALS, REFUSALS)
        self._timer = Timer(reactor, self._expired)
        self._warned: set[str] = set()

    def close(self) -> None:
        """Take no more connections. Those that there are end with their streams."""
        self._timer.cancel()
        for listener in self._listeners:
            listener.stopListening()

    # Packets.

    def packets_leaving(self, name: str, packets: Sequence[bytes]) -> list[bytes]:
        """Programs send these to a peer without a device.

        :param name: the peer's.
        :returns: those that are for the peer as they are.
        """
        passing = []
        back = []
        for packet in packets:
            segment = read(packet)
            if segment is not None:
                ends = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
                ports = self._ports(ends, segment)
                if ports is not None:
                    back.append(turned(packet, segment, ports))
                else:
                    self._unknown(name, ends, packet, segment)
            elif packet[9] == ICMP if packet[0] >> 4 == 4 else packet[6] == ICMP6:
                passing.append(packet)
            else:
                self._refuse(packet, PORT_UNREACHABLE)
        if back:
            self._device.write(back)
        return passing

    def bulk_leaving(self, name: str, packet: SuperPacket) -> None:
        """A program sends much to a peer without a device."""
        buffer, at = packet.buffer, packet.start + HEADER_SIZE
        segment = read(buffer, at)
        if segment is not None:
            ends = buffer[at + 8 : at + 40] if packet.is_v6 else buffer[at + 12 : at + 20]
            ports = self._ports(bytes(ends), segment)
            if ports is not None:
                turn(buffer, at, segment.at, ports)
                self._device.write_bulk(memoryview(buffer)[packet.start : packet.stop])
                return
        self.packets_leaving(name, [bytes(memoryview(buffer)[at : packet.stop])])

    def _ports(self, ends: bytes, segment: Segment) -> tuple[int, int] | None:
        """Between which ports a segment goes back; None if it is of no open connection."""
        door = self._doors.get(len(ends))
        if door is None:
            return None
        if segment.source == door:
            flow = self.flows.known_as(ends, segment.destination)
            if flow is None:
                return None
            flow.active = True
            who, ports = LISTENER, (flow.service, flow.program)
        else:
            flow = self.flows.find(ends, segment.source, segment.destination)
            if flow is None or flow.syn is not None:
                return None
            if segment.opens and segment.sequence != flow.sequence:
                return None
            who, ports = PROGRAM, (flow.alias, door)
        if segment.flags & (FIN | RST):
            self.flows.end(flow, BOTH if segment.flags & RST else who, self._reactor.seconds())
            self._rearm()
        return ports

    def _unknown(self, name: str, ends: bytes, packet: bytes, segment: Segment) -> None:
        """A segment of no open connection."""
        flow = self.flows.find(ends, segment.source, segment.destination)
        if flow is not None and flow.sequence == segment.sequence:
            return  # the SYN that is held, once more
        if not segment.opens or not self._listens(ends):
            self._reset(packet, segment)
            return
        if flow is not None:
            self._give_up(flow)
        self._begin(name, ends, packet, segment)

    # Connections.

    def _begin(self, name: str, ends: bytes, packet: bytes, segment: Segment) -> None:
        now = self._reactor.seconds()
        ports = segment.source, segment.destination
        flow = self.flows.begin(ends, *ports, segment.sequence, packet, now)
        if flow is None:
            self._dropped["too many connections begun at a time"] += 1
            return
        opening = Deferred.fromCoroutine(self._open(name, flow, packet, segment))
        if not opening.called:
            flow.give_up = opening.cancel
        opening.addErrback(self._failed, flow)
        self._rearm()

    async def _open(self, name: str, flow: Flow, syn: bytes, segment: Segment) -> None:
        """Open the stream; then let the kernel have the SYN, or refuse it."""
        try:
            endpoint = self._streams.endpoint(name, flow.service)
            stream: Any = await endpoint.connect(Factory.forProtocol(Held))
        except (OfflineError, UnknownPeerError, StreamTimeoutError, CancelledError):
            self.flows.remove(flow)
            self._refuse(syn, HOST_UNREACHABLE)
            return
        except TunnelMeshError:
            self.flows.remove(flow)
            self._reset(syn, segment)
            return
        flow.give_up = stream.transport.abortConnection
        self._held[flow] = stream
        self.flows.open(flow, self._reactor.seconds())
        self._rearm()
        ports = self._ports(flow.ends, segment)
        assert ports is not None
        self._device.write([turned(syn, segment, ports)])

    def _give_up(self, flow: Flow) -> None:
        self.flows.remove(flow)
        self._held.pop(flow, None)
        flow.give_up()

    def _failed(self, failure: Failure, flow: Flow) -> None:
        _log.failure("a connection to a peer without a device failed", failure)
        self.flows.remove(flow)

    def _listens(self, ends: bytes) -> bool:
        """Whether there is a listener for programs that have this machine's mesh address."""
        size = len(ends)
        address = self._addresses[size]
        if not ends.startswith(address.packed):
            return False
        if size not in self._doors:
            door = Door(self._taken_up)
            try:
                listener = self._inside.listenTCP(0, door, WAITING, str(address))
            except CannotListenError as error:
                self._warn("peers without a device are out of reach: {error}", error=error)
                return False
            self._listeners.append(listener)
            self._doors[size] = listener.getHost().port
        return True

    def _taken_up(self, host: str, port: int) -> Held | None:
        """The stream that belongs to a connection to the listener, if any does."""
        peer = ip_address(host).packed
        ends = self._addresses[2 * len(peer)].packed + peer
        flow = self.flows.take_up(ends, port, self._reactor.seconds())
        return None if flow is None else self._held.pop(flow)

    # Refusals.

    def _refuse(self, packet: bytes, codes: tuple[int, int]) -> None:
        answer = unreachable(packet, codes)
        if answer is not None and self._refusals.take(self._reactor.seconds()):
            self._device.write([answer])
        else:
            self._dropped["not for a peer without a device"] += 1

    def _reset(self, packet: bytes, segment: Segment) -> None:
        answer = reset(packet, segment)
        if answer is not None:
            self._device.write([answer])

    # Time.

    def _expired(self) -> None:
        for flow in self.flows.expire(self._reactor.seconds()):
            mute = flow.syn is None and not flow.active
            self._give_up(flow)
            if mute:
                self._warn(
                    "no program reaches a peer without a device: a firewall of this machine drops "
                    "what comes in by {device}; let it pass",
                    device=self._device.name,
                )
        self._rearm()

    def _warn(self, text: str, **fields: object) -> None:
        """Tell people, once: programs try again and again."""
        if text not in self._warned:
            self._warned.add(text)
            _log.warn(text, **fields)

    def _rearm(self) -> None:
        self._timer.set(self.flows.deadline)
