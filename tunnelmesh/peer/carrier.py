"""What the tunnel to one remote peer has sealed, sent by the way in use."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from ipaddress import IPv4Address

from tunnelmesh.bulk.run import Run
from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.interfaces import IPath
from tunnelmesh.noise.outputs import Established, Output, Transmit, TransmitRun
from tunnelmesh.paths.ladder import Ladder, Switched
from tunnelmesh.paths.selection import RELAY, Flow, Way
from tunnelmesh.peer.bulk import Bulk
from tunnelmesh.peer.surroundings import Surroundings
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.wireguard import INITIATION, TRANSPORT

FULL_SIZE = 1452
"""Bytes of the largest datagram that traffic sends: a packet of the device's 1,420 bytes and the
tunnel's 32. Larger pings would prove what is not needed, smaller ones would not prove enough."""

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

    def send(self, packets: Sequence[bytes], now: float) -> None:
        """Carry a batch of IP packets (or control messages) to the peer."""
        self.perform(self.tunnel.send(packets, now), now)

    def send_bulk(self, packet: SuperPacket, now: float) -> None:
        """Carry a super-packet to the peer; its buffer is not what it was afterwards."""
        question = self.bulk.question(now)
        if question:
            self.send(question, now)
        form = self.bulk.form(self.ladder.current, FULL_SIZE, now)
        self.perform(self.tunnel.send_bulk(packet, form, now), now)

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
                self.send(self.bulk.established(now), now)

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
