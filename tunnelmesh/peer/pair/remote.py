"""One remote peer: what it is, what happens to it, and what that means for the paths to it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from twisted.logger import Logger

from tunnelmesh.bulk.super_packet import SuperPacket
from tunnelmesh.identity import mesh_address6, x25519_public
from tunnelmesh.interfaces import IPath
from tunnelmesh.noise.outputs import Deliver, DeliverBulk, Output
from tunnelmesh.noise.tunnel import Tunnel
from tunnelmesh.paths.health import Health, State
from tunnelmesh.paths.history import History
from tunnelmesh.paths.ladder import Ladder, Narrowed, SendPing, Switched
from tunnelmesh.paths.selection import RELAY, Flow, Way, remote_of
from tunnelmesh.peer.pair.carrier import OVERHEAD, Carrier
from tunnelmesh.peer.pair.guard import Guard
from tunnelmesh.peer.pair.lane import Lane
from tunnelmesh.peer.pair.pursuit import Pursuit
from tunnelmesh.peer.pair.surroundings import Surroundings
from tunnelmesh.peer.timer import Timer
from tunnelmesh.streams.association import Association
from tunnelmesh.transports.tcp import TcpPath
from tunnelmesh.wire.control import Abilities, Arrivals
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.probe import PING, PONG, Probe, ProbeSeal
from tunnelmesh.wire.signal import Meet, RosterEntry

LOOK = 0.02
"""Seconds after packets have passed within which deadlines are worked out anew: once for many
batches instead of for each, and soon for whatever waits for an answer."""

_log = Logger()


class Remote:
    """One remote peer.

    :ivar name: its name in the mesh; *address*, *address6* its mesh addresses.
    :ivar ends4: the two addresses of a packet from it to this machine; *ends6*: over IPv6.
    :ivar key: its Ed25519 public key.
    :ivar online: whether the coordinator has a link to it.
    :ivar userspace: whether it has no network device, so that it takes streams only.
    :ivar seen: when it was last online, in Unix time; 0 if it is, or if that is not known.
    :ivar wanted: whether anybody has used the pair, or is likely to.
    :ivar since: when the way in use was taken.
    :ivar relay_only: whether it is to be reached by relay only; *direct_only*: never by relay.
    :ivar pursuit: the search for a direct path.
    :ivar streams: those to and from it; None until there is one.
    :ivar lane: the quick way of packets; None while something about the pair is in doubt.
    :ivar guard: what looks at its packets, if access rules restrict it.
    """

    def __init__(self, entry: RosterEntry, around: Surroundings) -> None:
        now = around.reactor.seconds()
        public_key = x25519_public(entry.key)
        self.name = entry.name
        self.key = entry.key
        self.address: IPv4Address = entry.address
        self.address6 = mesh_address6(around.interface6.network, entry.key)
        self.ends4 = self.address.packed + around.interface.ip.packed
        self.ends6 = self.address6.packed + around.interface6.packed
        self.online = False
        self.userspace = entry.userspace
        self.seen = entry.seen
        self.wanted = False
        self.since = float(now)
        self.guard = around.access.guard(entry.address)
        self.history = History()
        self.seal = ProbeSeal(around.private_key, public_key, around.entropy)
        self.relay_only = around.only_relays(entry.name)
        self.direct_only = around.never_relays(entry.name)
        self.pursuit = Pursuit(
            entry.address, self.seal, around, now, self.path_lost, relay_only=self.relay_only
        )
        self.streams: Association | None = None
        self.lane: Lane | None = None
        self._around = around
        self._carrier = Carrier(public_key, entry.address, around, direct_only=self.direct_only)
        self._timer = Timer(around.reactor, self._expired)
        self._forgotten = False
        self.tunnel.user = self

    @property
    def tunnel(self) -> Tunnel:
        """The encrypted session."""
        return self._carrier.tunnel

    @property
    def ladder(self) -> Ladder:
        """The ways to the peer."""
        return self._carrier.ladder

    # What the mesh tells.

    def presence(self, online: bool, linked: bool) -> None:
        """Whether the peer is online by the coordinator's word, and whether we are."""
        now = self._settled()
        came = online and not self.online
        self.online = online
        if online and linked:
            self._switched(self.ladder.relay_opened(now), now)
            if came:
                self.pursuit.hint(now)
                if self.wanted or self.tunnel.established:
                    self._carrier.shake_hands(now, urgent=True)
        else:
            cause = "they went offline" if linked else "the link to the coordinator was lost"
            self._switched(self.ladder.relay_closed(now, cause), now)
        self._rearm()

    def seek(self) -> None:
        """Look for a path before there is traffic."""
        if self.wanted:
            return
        self.wanted = True
        if self._leads:
            self._carrier.establish(self._settled())
        self._rearm()

    def is_at(self, path: IPath) -> bool:
        """Whether *path* leads to this peer, as far as is known."""
        if path.way == RELAY:
            return path is self._carrier.relay
        return path.way in self.ladder.ways

    def restore_session(self) -> None:
        """The peer uses a session that we do not have: make one before it finds out by itself."""
        # Not urgently: the answer to an initiation that was replaced is a stray as well.
        self._carrier.establish(self._settled(), urgent=False)
        self._rearm()

    def link_changed(self, before: str, failed: Health | None) -> None:
        """The coordinator link is made of something else now, and with it the relayed path."""
        if self.ladder.current == RELAY:
            cause = "the link stopped answering" if failed else "a better link is possible"
            since = None if failed is None else failed.unanswered_since
            self._record(f"{before} relay", self.describe(RELAY), cause, since)

    def look_again(self) -> None:
        """More is known of this machine's NAT: a direct path may be possible now."""
        if not self.ladder.is_best:
            self.pursuit.hint(self._settled())
            self._rearm()

    def network_changed(self) -> None:
        """This machine's own network changed: doubt every path and look for new ones."""
        now = self._settled()
        self.ladder.doubt(now)
        self.pursuit.network_changed(now)
        self._rearm()

    def meet(self, meet: Meet) -> None:
        """The coordinator has told both sides to punch."""
        now = self._settled()
        if self.wanted:
            # The first handshake may have come before either was ready; now both are.
            self._carrier.establish(now)
        self.pursuit.meet(meet, now)
        self._rearm()

    def forget(self) -> None:
        """The peer is no member any more, or its key is not believed; nothing is sent any more."""
        now = self._settled()
        self._forgotten = True
        self._lay_lane(now)
        self._timer.cancel()
        self.pursuit.hard.stop("the peer is gone")
        self.pursuit.stop()
        self._carrier.close()
        self._around.device.remove_peer(self.tunnel)
        if self.streams is not None:
            self.streams.drop("the peer is no member any more")

    # Packets.

    def send(self, packets: Sequence[bytes]) -> list[bytes]:
        """Carry a batch of IP packets (or control messages) to the peer.

        :returns: what to tell the kernel of packets that were too long for the path.
        """
        if self._forgotten:
            return []
        now = self._settled()
        self.wanted = True
        self.pursuit.used(now)
        told = self._carrier.send(packets, now)
        self._lay_lane(now)
        self._timer.by(now + LOOK)
        return told

    def room(self) -> tuple[int, int]:
        """Bytes of the longest control message that goes whole; and in parts."""
        return self._carrier.room()

    def send_long(self, messages: Sequence[bytes]) -> None:
        """Carry a batch of control messages, as long as :meth:`room` says, to the peer."""
        if self._forgotten:
            return
        now = self._settled()
        self.wanted = True
        self.pursuit.used(now)
        self._carrier.send_long(messages, now)
        self._lay_lane(now)
        self._timer.by(now + LOOK)

    def send_bulk(self, packet: SuperPacket) -> list[bytes]:
        """Carry a super-packet to the peer; see :meth:`send`."""
        if self._forgotten:
            return []
        now = self._settled()
        self.wanted = True
        self.pursuit.used(now)
        told = self._carrier.send_bulk(packet, now)
        self._lay_lane(now)
        self._timer.by(now + LOOK)
        return told

    def examine(self, guard: Guard | None) -> None:
        """Other access rules restrict the peer, or none."""
        self.guard = guard
        self._lay_lane(self._settled())

    def abilities_received(self, theirs: Abilities) -> None:
        """The peer tells what it can open."""
        now = self._settled()
        self._answer(self._carrier.bulk.told(theirs), now)
        self._lay_lane(now)

    def arrivals_received(self, arrivals: Arrivals) -> None:
        """The peer tells how much has arrived."""
        now = self._settled()
        self._carrier.bulk.carriage.reported(arrivals.sealed, arrivals.opened, now)
        self._lay_lane(now)

    def records_received(self) -> None:
        """Records of this peer arrived."""
        now = self._settled()
        self._answer(self._carrier.bulk.arrived(now), now)

    def _answer(self, messages: Sequence[bytes], now: float) -> None:
        if messages and not self._forgotten:
            self._carrier.send(messages, now)
            self._timer.by(now + LOOK)

    def datagrams_opened(self, outputs: Sequence[Output], path: IPath) -> None:
        """The device opened datagrams of this peer that came in by *path*."""
        now = self._settled()
        if path.remote is None and RELAY not in self.ladder.ways:
            # It came online, and was faster than the coordinator's word: it awaits an answer.
            self._switched(self.ladder.relay_opened(now), now)
        for output in outputs:
            if isinstance(output, Deliver | DeliverBulk):
                self._heard(path, now)
                break
        self._carrier.perform(outputs, now)
        self._lay_lane(now)
        self._timer.by(now + LOOK)

    def path_lost(self, path: IPath) -> None:
        """What a path to this peer ran over has closed."""
        if self._forgotten:
            return
        now = self._settled()
        self._switched(self._carrier.lost(path, now), now)
        self._rearm()

    def probe_received(self, datagram: bytes, path: IPath) -> None:
        """A probe with this peer's hint came in by *path*.

        :raises DecodeError: if it is not authentic.
        """
        probe = self.seal.open(datagram)
        if path.remote is not None and (self.relay_only or self.pursuit.is_inner(path.remote)):
            return  # an answer would make the other side take the direct path
        now = self._settled()
        if probe.kind == PING:
            path.write([self.seal.seal(PONG, probe.token, probe.size, path.remote)])
            self._heard(path, now)
        else:
            self._ponged(probe, path, now)
        self._rearm()

    # What follows.

    @property
    def _leads(self) -> bool:
        """Whether it is for this side to begin, where both would: the handshake goes once."""
        return self.seal.hint > self.seal.own_hint

    def _now(self) -> float:
        return float(self._around.reactor.seconds())

    def _heard(self, path: IPath, now: float) -> None:
        self.history.heard(now)
        way = path.way
        if way in self.ladder.ways:
            self._switched(self.ladder.heard(way, now), now)
        elif isinstance(way, Endpoint) and not self.pursuit.is_inner(way):
            self.pursuit.seen(way, now)
        elif isinstance(path, TcpPath):
            self.pursuit.tcp.seen(path, now)
        elif way != RELAY:
            self.pursuit.hard.seen(path, now)

    def _ponged(self, probe: Probe, path: IPath, now: float) -> None:
        way = path.way
        rtt = None if way == RELAY else self.pursuit.ponged(probe.token, path, now)
        if rtt is not None:
            self.history.heard(now)
            self._carrier.found(path, now, rtt)
            return
        awaited, switches = self.ladder.ponged(way, probe.token, now)
        if awaited:
            self.history.heard(now)
        self._switched(switches, now)

    def _expired(self) -> None:
        now = self._settled()
        self._carrier.expire(now)
        ladder_deadline = self._ladder_deadline
        if ladder_deadline is not None and now >= ladder_deadline:
            for output in self.ladder.expire(now):
                if isinstance(output, SendPing):
                    ping = self.seal.seal(PING, output.token, output.size)
                    self._carrier.path(output.way).write([ping])
                elif isinstance(output, Narrowed):
                    way = self.describe(output.way)
                    cause = (
                        f"datagrams of {output.before} bytes are lost on the way, shorter ones are "
                        "not: packets are made shorter"
                    )
                    self._record(way, way, cause, None)
                else:
                    self._switched([output], now)
            self._carrier.close_forgotten()
        self.pursuit.expire(now, self._wants_meeting)
        self._rearm()

    @property
    def _ladder_deadline(self) -> float | None:
        """Unused, the relay need not be probed: else a thousand peers that never speak would ping
        each other through the coordinator, which are a million pairs."""
        idle = not self.wanted and self.ladder.ways.keys() <= {RELAY}
        return None if idle else self.ladder.deadline

    @property
    def _wants_meeting(self) -> bool:
        linked = self.online and self._around.relay.link is not None
        if self.relay_only or not (self.wanted and linked):
            return False
        if self.pursuit.curious:
            return True
        if self.ladder.is_best:
            return False
        return not self.ladder.is_direct or self.pursuit.punchable

    def _switched(self, switches: Sequence[Switched], now: float) -> None:
        for switch in switches:
            before, after = self.describe(switch.before), self.describe(switch.after)
            self._record(before, after, switch.cause, switch.failed_since)
            if self.ladder.is_direct:
                self.pursuit.stop()
            elif switch.before is not None:
                self.pursuit.hint(now)
                self._around.path_failed()
            if switch.before is None or self.direct_only:
                self._carrier.send_waiting(now)
                if self.wanted:
                    self._carrier.establish(now)

    def _record(self, before: str, after: str, cause: str, failed_since: float | None) -> None:
        self.since = self._now()
        self.history.record(self.since, before, after, cause, failed_since)
        self._around.path_changed()
        _log.info(
            "{peer}: {before} -> {after}: {cause}",
            peer=self.name,
            before=before,
            after=after,
            cause=cause,
        )

    def describe(self, way: Way | None) -> str:
        """A way, for people: ``udp 192.0.2.7:4242``, ``ssh relay`` or ``none``."""
        if way is None:
            return "none"
        return f"{self._kind(way)} {way}"

    @property
    def held(self) -> float:
        """Seconds since the path last changed."""
        return self._now() - self.since

    @property
    def path_kind(self) -> str | None:
        """``udp``, ``tcp``, ``ssh`` or ``websocket``, or None without a way."""
        way = self.ladder.current
        health = self.ladder.health
        if way is None or health is None or health.state is State.DEAD:
            return None
        return None if way == RELAY and self.direct_only else self._kind(way)

    @property
    def path_mtu(self) -> int | None:
        """Bytes of the longest packet that goes as one datagram; None where there is no such limit,
        on a path inside a TCP connection."""
        if self.path_kind is None or self.ladder.datagram is None:
            return None
        return self.ladder.datagram - OVERHEAD

    @property
    def path_remote(self) -> Endpoint | None:
        """Where the path leads, if it is a direct one."""
        way = self.ladder.current
        return None if way is None or self.path_kind is None else remote_of(way)

    def _kind(self, way: Way) -> str:
        if isinstance(way, Flow):
            return way.kind
        return self._carrier.relay.kind if way == RELAY else "udp"

    def _settled(self) -> float:
        """What has passed on the lane is known now.

        :returns: the time.
        """
        now = self._now()
        lane = self.lane
        if lane is not None and (lane.sent_at is not None or lane.heard_at is not None):
            if lane.heard_at is not None:
                self.history.heard(lane.heard_at)
            if lane.sent_at is not None:
                self.pursuit.used(lane.sent_at)
            heard_records = lane.heard_records
            self._switched(self._carrier.passed(lane), now)
            if heard_records:
                self._answer(self._carrier.bulk.arrived(now), now)
        return now

    def _lay_lane(self, now: float) -> None:
        """Something may have changed for what passes on the lane."""
        examined = self.guard is not None or self.userspace
        course = None if self._forgotten else self._carrier.course(now, examined)
        before, lanes = self.lane, self._around.lanes
        if before is not None and before.course == course:
            return
        self.lane = None
        if course is not None:
            self.lane = Lane(course, self._carrier.path(course.way), self._soon)
        for address in self.address.packed, self.address6.packed:
            if self.lane is not None and self.lane.course.is_express:
                lanes[address] = self.lane
            else:
                lanes.pop(address, None)

    def _soon(self, now: float) -> None:
        self._timer.by(now + LOOK)

    def _rearm(self) -> None:
        if self._forgotten:
            return
        self._lay_lane(self._now())
        deadlines = (
            self._carrier.deadline,
            self._ladder_deadline,
            self.pursuit.deadline(self._wants_meeting),
        )
        self._timer.set(min((at for at in deadlines if at is not None), default=None))
