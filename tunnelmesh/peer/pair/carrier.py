"""What the tunnel to one remote peer has sealed, sent by the way in use."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from ipaddress import IPv4Address

from tunnelmesh.bulk.run import Run
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.interfaces import IPath
from tunnelmesh.noise.load import TokenBucket
from tunnelmesh.noise.outputs import Established, Output, Transmit, TransmitRun
from tunnelmesh.noise.session import Form
from tunnelmesh.paths.health import State
from tunnelmesh.paths.ladder import Ladder, Switched
from tunnelmesh.paths.selection import RELAY, Flow, Way
from tunnelmesh.peer.pair.bulk import Bulk
from tunnelmesh.peer.pair.lane import Course, Lane
from tunnelmesh.peer.pair.surroundings import Surroundings
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.icmp import too_big
from tunnelmesh.wire.virtio import HEADER_SIZE as VIRTIO_SIZE
from tunnelmesh.wire.wireguard import INITIATION, TRANSPORT

OVERHEAD = 32
"""Bytes by which a packet's datagram is longer than the packet, in either form."""

FULL_SIZE = 1420 + OVERHEAD
"""Bytes of the largest datagram that traffic sends: a packet as long as the device takes. Larger
pings would prove what is not needed, smaller ones would not prove enough."""

LANE_MESSAGES = 1 << 32
"""Messages that a session can certainly still seal when a lane is laid: more than ever pass before
it is laid anew."""

LONGEST = 1 << 16
"""Bytes of the longest control message: what goes into a record."""

TOLD = 20.0
"""Times a second, and at once, that the kernel is told of packets too long for this peer's path:
each of its flows needs it once, and a flow that does not listen must not make work."""

WAITING = 32
"""Datagrams of traffic kept while there is no way at all, the last ones: a TCP flow's last attempts
are among them. With these it goes on at once, and not when its timer, which has grown as long as
the outage, expires next."""

HANDSHAKE_AGAIN = (0.5, 1.0, 2.0)
"""Seconds after which a first handshake that got no answer is sent again. WireGuard waits for five,
which is long for somebody's first packet; growing, so that a slow answer is in time for one."""


class Carrier:
    """The tunnel to one remote peer, and the ladder of ways to it.

    :param public_key: the remote peer's X25519 key.
    :param address: its mesh address.
    :param direct_only: whether its traffic may not go by relay. Handshakes may.
    """

    def __init__(
        self,
        public_key: bytes,
        address: IPv4Address,
        around: Surroundings,
        *,
        direct_only: bool = False,
    ) -> None:
        self.tunnel = around.device.add_peer(public_key)
        self.ladder = Ladder(around.tokens, FULL_SIZE)
        self.relay = around.relay.path_to(address)
        self.bulk = Bulk(self.tunnel, around.abilities, around.whole_records)
        self._around = around
        self._direct_only = direct_only
        self._flows: dict[Way, IPath] = {}
        self._telling = TokenBucket(TOLD, TOLD)
        self._waiting: deque[bytes] = deque(maxlen=WAITING)
        self._handshakes = 0
        self._handshake_again: float | None = None

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`expire`."""
        deadlines = (self.tunnel.deadline, self._handshake_again)
        return min((at for at in deadlines if at is not None), default=None)

    def expire(self, now: float) -> None:
        """Time has come."""
        if self.tunnel.deadline is not None and now >= self.tunnel.deadline:
            self.perform(self.tunnel.expire(now), now)
        if self._handshake_again is not None and now >= self._handshake_again:
            self._handshake_again = None
            self.establish(now)

    @property
    def mtu(self) -> int | None:
        """Bytes of the longest packet that the way in use carries in one datagram; None if the
        device gives no longer ones."""
        size = self.ladder.datagram
        return None if size is None or size >= FULL_SIZE else size - OVERHEAD

    def send(self, packets: Sequence[bytes], now: float) -> list[bytes]:
        """Carry a batch of IP packets (or control messages) to the peer.

        :returns: what to tell the kernel: the ICMP message about a packet that was too long.
        """
        mtu = self.mtu
        if mtu is None or max(map(len, packets), default=0) <= mtu:
            self.perform(self.tunnel.send(packets, now), now)
            return []
        long = [packet for packet in packets if len(packet) > mtu]
        form = self._form(now)
        if form is None:
            self._around.device.counters.unsent_packets += len(long)
        else:
            for packet in long:
                self.perform(self.tunnel.send_long(packet, form, now), now)
            self.bulk.sent(form, now)
        fitting = [packet for packet in packets if len(packet) <= mtu]
        if fitting:
            self.perform(self.tunnel.send(fitting, now), now)
        return self._too_long(long[0], mtu, form, now)

    def room(self) -> tuple[int, int]:
        """Bytes of the longest message that goes as one datagram; and in parts, if it is longer."""
        single = self.mtu or FULL_SIZE - OVERHEAD
        return single, LONGEST if self.bulk.agreed else single

    def send_long(self, messages: Sequence[bytes], now: float) -> None:
        """Carry control messages that may be longer than a datagram; see :meth:`room`."""
        single, longest = self.room()
        long = [message for message in messages if single < len(message) <= longest]
        form = self._form(now) if long else None
        if form is not None:
            for message in long:
                self.perform(self.tunnel.send_long(message, form, now), now)
            self.bulk.sent(form, now)
        short = [message for message in messages if len(message) <= single]
        if short:
            self.perform(self.tunnel.send(short, now), now)

    def send_bulk(self, packet: SuperPacket, now: float) -> list[bytes]:
        """Carry a super-packet to the peer; its buffer is not what it was afterwards.

        :returns: as :meth:`send`, about its segments.
        """
        mtu = self.mtu
        form = self._form(now)
        told: list[bytes] = []
        if mtu is not None and packet.headers + packet.segment_size > mtu:
            if form is None:
                return self.send(packet.packets(), now)
            start = packet.start + VIRTIO_SIZE
            told = self._too_long(memoryview(packet.buffer)[start : packet.stop], mtu, form, now)
        self.perform(self.tunnel.send_bulk(packet, form, now), now)
        if form is not None:
            self.bulk.sent(form, now)
        return told

    def course(self, now: float, examined: bool) -> Course | None:
        """What a lane would be like; None while something is in doubt, or not there yet.

        :param examined: whether somebody wants to see each super-packet that leaves.
        """
        way, health, session = self.ladder.current, self.ladder.health, self.tunnel.session
        if way is None or health is None or health.state is not State.GOOD or self.ladder.doubled:
            return None
        if session is None or not session.can_seal(LANE_MESSAGES, now):
            return None
        if way == RELAY and self._direct_only:
            return None
        form = self.bulk.form(way, self.ladder.datagram, now)
        return Course(session, way, form, self.mtu, examined)

    def passed(self, lane: Lane) -> list[Switched]:
        """Take note of what has passed on a lane, and let it count anew."""
        switches: list[Switched] = []
        if lane.sent_at is not None and lane.heard_last:
            self._passed_out(lane, lane.sent_at)
        if lane.heard_at is not None:
            switches = self.ladder.heard(lane.course.way, lane.heard_at)
            count, size = lane.heard_packets, lane.heard_bytes
            outputs = self.tunnel.received(lane.course.session, count, size, lane.heard_at)
            self.perform(outputs, lane.heard_at)
        if lane.sent_at is not None and not lane.heard_last:
            self._passed_out(lane, lane.sent_at)
        lane.clear()
        return switches

    def _passed_out(self, lane: Lane, now: float) -> None:
        session, _, form, _, _ = lane.course
        self.ladder.sent(now, lane.largest)
        if lane.sent_bulk:
            if form is None:
                self._ask(now)
            else:
                self.bulk.sent(form, now)
        self.perform(self.tunnel.sent(session, lane.sent_packets, lane.sent_bytes, now), now)

    def establish(self, now: float, *, urgent: bool = True) -> None:
        """Shake hands, if there is no session."""
        if not self.tunnel.established:
            self.shake_hands(now, urgent=urgent)

    def shake_hands(self, now: float, *, urgent: bool) -> None:
        """Make a new session.

        :param urgent: the last initiation, if it was just sent, is likely to be lost.
        """
        self.perform(self.tunnel.initiate(now, urgent=urgent), now)

    def perform(self, outputs: Sequence[Output], now: float) -> None:
        """Do what the tunnel asks for."""
        for output in outputs:
            if isinstance(output, Transmit):
                self._transmit(output.datagrams, now)
            elif isinstance(output, TransmitRun):
                self._transmit_run(output.run, now)
            elif isinstance(output, Established):
                self._handshakes = 0
                abilities = self.bulk.established(now)
                if abilities:
                    self.send(abilities, now)

    def send_waiting(self, now: float) -> None:
        """There is a way again: send what has been kept for it."""
        waiting = list(self._waiting)
        self._waiting.clear()
        if waiting:
            self._transmit(waiting, now)

    def found(self, path: IPath, now: float, rtt: float) -> None:
        """The peer answered by a direct path after *rtt* seconds: the ladder is to prove it."""
        if isinstance(path.way, Flow):
            self._flows[path.way] = path
        self.ladder.found(path.way, now, rtt)
        self.close_forgotten()

    def lost(self, path: IPath, now: float) -> list[Switched]:
        """What a path ran over has closed."""
        if self._flows.get(path.way) is not path:
            return []
        del self._flows[path.way]
        return self.ladder.lost(path.way, now, "the connection was closed")

    def close_forgotten(self) -> None:
        """Close what the ladder has given up, where that is not the main socket."""
        for way in self._flows.keys() - self.ladder.ways.keys():
            self._flows.pop(way).stopProducing()

    def close(self) -> None:
        """Close every path that is this peer's alone."""
        while self._flows:
            self._flows.popitem()[1].stopProducing()

    def path(self, way: Way) -> IPath:
        """The path that a way stands for."""
        if isinstance(way, Endpoint):
            return self._around.udp.path_to(way)
        return self.relay if way == RELAY else self._flows[way]

    def _form(self, now: float) -> Form | None:
        """How to send what is more than a datagram; None until the peer has told what it takes."""
        self._ask(now)
        return self.bulk.form(self.ladder.current, self.ladder.datagram, now)

    def _ask(self, now: float) -> None:
        """Let the peer tell what it takes, if that is not known."""
        question = self.bulk.question(now)
        if question:
            self.perform(self.tunnel.send(question, now), now)

    def _too_long(
        self, packet: bytes | memoryview, mtu: int, form: Form | None, now: float
    ) -> list[bytes]:
        """What to tell the kernel about a packet.

        It remembers for ten minutes (mtu_expires), and does not believe in a larger MTU before. So
        as long as the packets get there in parts, wait for what the search for the size finds.
        """
        health = self.ladder.health
        searching = health is not None and health.mtu is not None and not health.mtu.settled
        if (form is not None and searching) or not self._telling.take(now):
            return []
        message = too_big(packet, mtu)
        return [] if message is None else [message]

    def _transmit(self, datagrams: Sequence[bytes], now: float) -> None:
        way = self.ladder.current
        if way is None or (way == RELAY and self._direct_only):
            # Without a way, handshakes are made anew when there is one again.
            self._waiting.extend(each for each in datagrams if each.startswith(TRANSPORT))
            datagrams = [each for each in datagrams if not each.startswith(TRANSPORT)]
            if way is None or not datagrams:
                return
        if self._handshake_again is None and datagrams[0].startswith(INITIATION):
            if self._handshakes < len(HANDSHAKE_AGAIN):
                self._handshake_again = now + HANDSHAKE_AGAIN[self._handshakes]
            self._handshakes += 1
        self.ladder.sent(now, max(map(len, datagrams)))
        self.path(way).write(datagrams)
        if self.ladder.doubled and not self._direct_only:
            self.relay.write(datagrams)

    def _transmit_run(self, run: Run, now: float) -> None:
        way = self.ladder.current
        if way is None or (way == RELAY and self._direct_only):
            return  # a flow's super-packets are too large to be kept; its next attempt is not
        self.ladder.sent(now, run.segment)
        self.path(way).write_run(run)
        if self.ladder.doubled and not self._direct_only:
            self.relay.write_run(run)
