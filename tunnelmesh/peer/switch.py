"""Moves packets between the tunnel device and the remote peers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from zope.interface import implementer

from tunnelmesh.bulk.acknowledgements import without_superseded
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.errors import DecodeError
from tunnelmesh.interfaces import IPath, IPathUser, ITunnelDevice, ITunnelUser
from tunnelmesh.noise.load import TokenBucket
from tunnelmesh.noise.outputs import Deliver, DeliverBulk, Output, Reply
from tunnelmesh.peer.crossing import Crossing
from tunnelmesh.peer.deviceless import Deviceless
from tunnelmesh.peer.members import Members
from tunnelmesh.peer.pair.lane import Lane
from tunnelmesh.peer.pair.remote import Remote
from tunnelmesh.peer.pair.surroundings import Surroundings
from tunnelmesh.transports.offload import cut, runs
from tunnelmesh.transports.relay import RelayPath
from tunnelmesh.wire import control
from tunnelmesh.wire.control import Abilities, Arrivals, Echo, Stream
from tunnelmesh.wire.probe import hint_of, is_probe
from tunnelmesh.wire.record import KIND, receiver_of
from tunnelmesh.wire.stun import is_stun
from tunnelmesh.wire.virtio import HEADER_SIZE as VIRTIO_SIZE
from tunnelmesh.wire.wireguard import INDEX_SIZE, TRANSPORT, TYPE_SIZE

STRAYS = 20.0
"""Strays a second, and at once, that are looked into: anybody can send them, and to find out whom
one concerns takes a look at every member."""

_DATA = b"\x04"
"""First byte of a WireGuard transport message: most of what arrives."""

_TUNNEL = (b"\x01", b"\x02", b"\x03", _DATA)
"""First bytes of WireGuard's messages. A STUN response begins with 1 as well, and is told apart by
its magic cookie."""

_RECORD = bytes([KIND])

_SESSION = TYPE_SIZE + INDEX_SIZE
"""What the messages of one session begin with."""

_ENDS4 = slice(VIRTIO_SIZE + 12, VIRTIO_SIZE + 20)
_ENDS6 = slice(VIRTIO_SIZE + 8, VIRTIO_SIZE + 40)
"""Where a packet behind a virtio header has its two addresses."""


@implementer(IPathUser, ITunnelUser)
class Switch:
    """What goes out finds its remote peer by address; what comes in, by key.

    :param stun_received: takes the STUN messages out of the main socket's datagrams.

    :ivar dropped: packets and datagrams dropped, by reason.
    :ivar echoed: told of echo replies.
    :ivar crossing: takes the packets for peers without a device, where this machine has one.
    :ivar streamed: told of messages of streams.
    :ivar lanes: see :class:`~tunnelmesh.interfaces.ITunnelUser`.
    """

    def __init__(
        self,
        around: Surroundings,
        members: Members,
        stun_received: Callable[[Sequence[bytes], IPath], None],
        dropped: Counter[str],
    ) -> None:
        self.dropped = dropped
        self.device: ITunnelDevice | None = None
        self.crossing: Crossing | None = None
        self.echoed: Callable[[Remote, int], None] | None = None
        self.streamed: Callable[[Remote, Stream], None] | None = None
        self._around = around
        self.lanes = around.lanes
        self._seconds = around.reactor.seconds
        self._sessions = around.device.sessions
        self._members = members
        self._routes = members.by_address
        self._hints = members.by_hint
        self._stun_received = stun_received
        self._strays = TokenBucket(STRAYS, STRAYS)
        self._deviceless = Deviceless(dropped)

    def use(self, device: ITunnelDevice) -> None:
        """Packets come from, and go to, this device."""
        self.device = device
        device.start(self)

    def close(self) -> None:
        """Give the device back."""
        if self.crossing is not None:
            self.crossing.close()
        if self.device is not None:
            self.device.stop()

    # Packets out.

    def packets_leaving(self, packets: Sequence[bytes]) -> None:
        """The kernel sends these into the tunnel."""
        routes = self._routes
        if len(packets) > 1:
            packets = without_superseded(packets)
        batches: dict[Remote, list[bytes]] = {}
        for packet in packets:
            remote = routes.get(packet[16:20] if packet[0] >> 4 == 4 else packet[24:40])
            if remote is None:
                self.dropped["no such mesh address"] += 1
            elif remote in batches:
                batches[remote].append(packet)
            else:
                batches[remote] = [packet]
        for remote, batch in batches.items():
            if remote.userspace and self.crossing is not None:
                batch = self.crossing.packets_leaving(remote.name, batch)
            now = self._seconds()
            if remote.guard is not None:
                remote.guard.leaving(batch, now)
            lane = remote.lane
            if batch and (lane is None or not lane.send(batch, now)):
                self._tell(remote.send(batch))

    def bulk_leaving(self, packet: SuperPacket) -> None:
        """The kernel sends many packets of one flow at once."""
        at = packet.start + VIRTIO_SIZE
        field = slice(at + 24, at + 40) if packet.is_v6 else slice(at + 16, at + 20)
        remote = self._routes.get(bytes(packet.buffer[field]))
        if remote is None:
            self.dropped["no such mesh address"] += packet.count
        elif remote.userspace and self.crossing is not None:
            self.crossing.bulk_leaving(remote.name, packet)
        else:
            now = self._seconds()
            if remote.guard is not None:
                remote.guard.left(packet.buffer, at, now)
            lane = remote.lane
            if lane is None or not lane.send_bulk(packet, now):
                self._tell(remote.send_bulk(packet))

    def _tell(self, messages: Sequence[bytes]) -> None:
        """What became of its packets, for the kernel."""
        if messages and self.device is not None:
            self.device.write(messages)

    # Datagrams in.

    def datagrams_received(self, datagrams: Sequence[bytes], path: IPath) -> None:
        """A batch arrived from one place: tunnel, probes or STUN, told apart by first bytes."""
        session = datagrams[0][:_SESSION]
        if session.startswith(TRANSPORT) and all(
            datagram.startswith(session) for datagram in datagrams
        ):
            found = self._lane(session[TYPE_SIZE:], path)
            if found is not None:
                remote, lane = found
                now = self._seconds()
                self._deliver(remote, lane.open(datagrams, now), now)
                return
        if any(datagram[:1] != _DATA for datagram in datagrams):
            datagrams = self._tunnel_only(datagrams, path)
        if datagrams:
            self._open(datagrams, path)

    def run_received(self, messages: memoryview, segment: int, path: IPath) -> None:
        """Records or WireGuard's transport messages arrived from one place."""
        if messages[0] == KIND:
            self._records_received(messages, segment, path)
            return
        found = self._lane(receiver_of(messages), path)
        if found is not None and self.device is not None and self.device.offloads:
            remote, lane = found
            if lane.course.form is None:  # else what comes like this is of many small flows
                now = self._seconds()
                packets = lane.open_flight(messages, segment, now)
                if packets is not None:
                    self._deliver_bulk(remote, packets, now)
                    return
        self.datagrams_received(cut(messages, segment), path)

    def record_received(self, record: memoryview, step: int, source: Sequence[Any]) -> bool:
        """One whole record arrived, complete, from a place of the main socket's.

        :returns: whether it came by a lane; if not, nothing was done.
        """
        found = self._sessions.get(receiver_of(record))
        if found is None:
            return False
        remote: Remote = found[0].user
        lane = remote.lane
        if lane is None or lane.course.session is not found[1] or lane.course.way != source:
            return False
        now = self._seconds()
        self._deliver_bulk(remote, lane.open_record(record, step, now), now)
        return True

    def _records_received(self, records: memoryview, segment: int, path: IPath) -> None:
        now = self._seconds()
        found = self._lane(receiver_of(records), path)
        if found is not None:
            remote, lane = found
            self._deliver_bulk(remote, lane.open_records(records, segment, now), now)
            return
        device = self._around.device
        strays = device.counters.unknown_index
        outputs = device.receive_records(records, segment, now)
        for output in outputs:
            if isinstance(output, DeliverBulk):
                remote = output.tunnel.user
                remote.datagrams_opened(outputs, path)
                self._deliver_bulk(remote, output.packets, now)
                remote.records_received()
        self._look_into_strays(strays, path, now)

    def _lane(self, index: bytes, path: IPath) -> tuple[Remote, Lane] | None:
        """Whose lane a batch for a session has come by."""
        found = self._sessions.get(index)
        if found is None:
            return None
        remote: Remote = found[0].user
        lane = remote.lane
        if lane is None or lane.course.session is not found[1] or lane.course.way != path.way:
            return None
        return remote, lane

    def relayed(self, address: bytes, datagrams: Sequence[bytes]) -> None:
        """The coordinator relays a batch from the peer with that mesh address."""
        remote = self._routes.get(address)
        if remote is None:
            self.dropped["relayed from a stranger"] += len(datagrams)
            return
        self.datagrams_received(datagrams, self._around.relay.path_to(remote.address))

    def path_lost(self, path: IPath) -> None:
        """Paths come and go with their remote peers' pings; nothing to do."""

    def _tunnel_only(self, datagrams: Sequence[bytes], path: IPath) -> list[bytes]:
        """Take out what is not the tunnel's, and hand it to whom it concerns."""
        tunnel = []
        records = []
        for datagram in datagrams:
            if is_probe(datagram):
                self._probe(datagram, path)
            elif path.remote is not None and is_stun(datagram):
                self._stun_received([datagram], path)
            elif datagram[:1] in _TUNNEL:
                tunnel.append(datagram)
            elif datagram[:1] == _RECORD:
                records.append(datagram)
            else:
                self.dropped["unknown datagram"] += 1
        for run in runs(records):
            self._records_received(memoryview(bytearray().join(run.buffers)), run.segment, path)
        return tunnel

    def _probe(self, datagram: bytes, path: IPath) -> None:
        remote = self._hints.get(hint_of(datagram))
        if remote is None:
            self.dropped["probe from a stranger"] += 1
            return
        try:
            remote.probe_received(datagram, path)
        except DecodeError:
            self.dropped["bad probe"] += 1

    def _open(self, datagrams: Sequence[bytes], path: IPath) -> None:
        # Behind the relay each peer is a place of its own, or one could use up all others' share.
        source = path.address if isinstance(path, RelayPath) else str(path.remote).encode()
        now = self._seconds()
        device = self._around.device
        strays = device.counters.unknown_index
        outputs: dict[Remote, list[Output]] = {}
        for output in device.receive(datagrams, source, now):
            if isinstance(output, Reply):
                path.write([output.datagram])
            if output.tunnel is not None and isinstance(output.tunnel.user, Remote):
                outputs.setdefault(output.tunnel.user, []).append(output)
        for remote, mine in outputs.items():
            remote.datagrams_opened(mine, path)
            for output in mine:
                if isinstance(output, Deliver) and output.packets:
                    self._deliver(remote, output.packets, now)
        self._look_into_strays(strays, path, now)

    def _look_into_strays(self, before: int, path: IPath, now: float) -> None:
        """If something came for a session that is not ours, this machine may have restarted.

        :param before: how many strays there were before it came.
        """
        if self._around.device.counters.unknown_index == before or not self._strays.take(now):
            return
        for remote in self._members:
            if remote.is_at(path):
                remote.restore_session()

    def _deliver(self, remote: Remote, packets: Sequence[bytes], now: float) -> None:
        """Hand packets to the kernel, if they are from the peer's own address to ours.

        The kernel would deliver to any other address that this machine has, or forward.
        """
        both4, both6 = remote.ends4, remote.ends6
        genuine = []
        for packet in packets:
            version = packet[0] >> 4
            ends = packet[12:20] if version == 4 else packet[8:40]
            if ends == (both4 if version == 4 else both6):
                genuine.append(packet)
            elif control.is_control(packet):
                self._control(remote, packet)
            elif ends.startswith(both4[:4] if version == 4 else both6[:16]):
                self.dropped["not to this machine's own address"] += 1
            else:
                self.dropped["not the peer's own address"] += 1
        guard = remote.guard
        if guard is not None:
            genuine = guard.allowed(genuine, now, self.dropped)
        if genuine:
            remote.wanted = True
            if self.device is not None:
                self.device.write(genuine)
            else:
                answers = self._deviceless.answers(genuine, now)
                if answers:
                    remote.send(answers)

    def _deliver_bulk(self, remote: Remote, packets: Sequence[memoryview], now: float) -> None:
        """The same for packets with a virtio header before them."""
        guard = remote.guard
        remote.wanted = True
        for packet in packets:
            if packet[VIRTIO_SIZE] >> 4 == 0:
                self._control(remote, bytes(packet[VIRTIO_SIZE:]))
                continue
            is_v4 = packet[VIRTIO_SIZE] >> 4 == 4
            ends = bytes(packet[_ENDS4 if is_v4 else _ENDS6])
            if ends != (remote.ends4 if is_v4 else remote.ends6):
                self.dropped["not between the two ends' own addresses"] += 1
            elif guard is not None and not guard.passes(packet, VIRTIO_SIZE, now, self.dropped):
                pass  # counted
            elif self.device is not None:
                self.device.write_bulk(packet)
            else:
                self.dropped["no device for it"] += 1

    def _control(self, remote: Remote, plaintext: bytes) -> None:
        try:
            message = control.decode(plaintext)
        except DecodeError:
            self.dropped["bad control message"] += 1
            return
        match message:
            case None:
                self.dropped["unknown control message"] += 1
            case Abilities():
                remote.abilities_received(message)
            case Arrivals():
                remote.arrivals_received(message)
            case Echo(kind=control.ECHO_REQUEST):
                remote.send([Echo(control.ECHO_REPLY, message.token).encode()])
            case Echo() if self.echoed is not None:
                self.echoed(remote, message.token)
            case Stream() if self.streamed is not None:
                remote.wanted = True
                self.streamed(remote, message)
