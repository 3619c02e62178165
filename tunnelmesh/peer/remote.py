"""One remote peer: its tunnel, the ways to it, and the attempts to find a better one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address

from twisted.logger import Logger

from tunnelmesh.identity import mesh_address6, x25519_public
from tunnelmesh.interfaces import IPath
from tunnelmesh.nat.behaviour import NatBehaviour, punchable
from tunnelmesh.nat.candidates import behaviour_of, endpoints_to_try
from tunnelmesh.nat.punch import Punch
from tunnelmesh.noise.outputs import Deliver, Established, Output, Transmit
from tunnelmesh.paths.health import Health, State
from tunnelmesh.paths.history import History
from tunnelmesh.paths.ladder import Ladder, SendPing, Switched
from tunnelmesh.paths.retry import Retry
from tunnelmesh.paths.selection import RELAY, Way
from tunnelmesh.peer.surroundings import Surroundings
from tunnelmesh.peer.timer import Timer
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.probe import PING, PONG, Probe, ProbeSeal
from tunnelmesh.wire.signal import Connect, Describe, Meet, RosterEntry
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

LONGEST_WAIT = 2.0
"""Seconds that the coordinator may delay a meeting: it has no reason to exceed one."""

_log = Logger()


class Remote:
    """One remote peer.

    :ivar name: its name in the mesh; *address*, *address6* its mesh addresses.
    :ivar key: its Ed25519 public key.
    :ivar online: whether the coordinator has a link to it.
    :ivar them: what it last described of its network, as a meeting told.
    :ivar probes: punching probes sent to it.
    :ivar attempts: attempts to punch.
    """

    def __init__(self, entry: RosterEntry, around: Surroundings) -> None:
        public_key = x25519_public(entry.key)
        self.name = entry.name
        self.key = entry.key
        self.address: IPv4Address = entry.address
        self.address6 = mesh_address6(entry.key)
        self.online = False
        self.them: Describe | None = None
        self.met_at: float | None = None
        self.probes = 0
        self.attempts = 0
        self.seal = ProbeSeal(around.private_key, public_key, around.entropy)
        self.tunnel = around.device.add_peer(public_key)
        self.tunnel.user = self
        self.ladder = Ladder(around.tokens, FULL_SIZE)
        self.history = History()
        self.wanted = False
        self.since = float(around.reactor.seconds())
        self._around = around
        self._relay = around.relay.path_to(entry.address)
        self._punch: Punch | None = None
        self._waiting: deque[bytes] = deque(maxlen=WAITING)
        self._handshakes = 0
        self._handshake_again: float | None = None
        self._retry = Retry(around.reactor.seconds(), around.random)
        self._timer = Timer(around.reactor, self._expired)
        self._forgotten = False

    # What the mesh tells.

    def presence(self, online: bool, linked: bool) -> None:
        """Whether the peer is online by the coordinator's word, and whether we are."""
        now = self._now()
        came = online and not self.online
        self.online = online
        if online and linked:
            self._switched(self.ladder.relay_opened(now), now)
            if came:
                self._retry.hint(now)
                if self.wanted or self.tunnel.established:
                    self._perform(self.tunnel.initiate(now, urgent=True))
        else:
            cause = "they went offline" if linked else "the link to the coordinator was lost"
            self._switched(self.ladder.relay_closed(now, cause), now)
        self._rearm()

    def seek(self) -> None:
        """Look for a path before there is traffic."""
        if self.wanted:
            return
        self.wanted = True
        if self._leads and not self.tunnel.established:
            self._perform(self.tunnel.initiate(self._now(), urgent=True))
        self._rearm()

    def is_at(self, path: IPath) -> bool:
        """Whether *path* leads to this peer, as far as is known."""
        return path is self._relay or path.remote in self.ladder.ways

    def restore_session(self) -> None:
        """The peer uses a session that we do not have: make one before it finds out by itself."""
        if not self.tunnel.established:
            # Not urgently: the answer to an initiation that was replaced is a stray as well.
            self._perform(self.tunnel.initiate(self._now()))
            self._rearm()

    def link_changed(self, before: str, failed: Health | None) -> None:
        """The coordinator link is made of something else now, and with it the relayed path."""
        if self.ladder.current == RELAY:
            cause = "the link stopped answering" if failed else "a better link is possible"
            since = None if failed is None else failed.unanswered_since
            self._record(f"{before} relay", self.describe(RELAY), cause, since)

    def look_again(self) -> None:
        """More is known of this machine's NAT: a direct path may be possible now."""
        if not self.ladder.is_direct:
            self._retry.hint(self._now())
            self._rearm()

    def network_changed(self) -> None:
        """This machine's own network changed: doubt every path and look for new ones."""
        now = self._now()
        self.ladder.doubt(now)
        self._retry.hint(now)
        self._rearm()

    def meet(self, meet: Meet) -> None:
        """The coordinator has told both sides to punch."""
        now = self._now()
        self.them = meet.them
        self.met_at = now
        if self.wanted and not self.tunnel.established:
            # The first handshake may have come before either was ready; now both are.
            self._perform(self.tunnel.initiate(now, urgent=True))
            self._rearm()
        if self._around.relay_only or meet.them.relay_only:
            return
        self._around.met()
        candidates = endpoints_to_try(meet.them, self._around.own())
        outer = [endpoint for endpoint in candidates if not self._is_inner(endpoint)]
        self._begin(outer, now + min(max(meet.after, 0.0), LONGEST_WAIT))
        self.attempts += 1
        self._retry.tried(now, self.hopeful)
        self._rearm()

    def forget(self) -> None:
        """The peer is no member any more, or its key is not believed; nothing is sent any more."""
        self._forgotten = True
        self._timer.cancel()
        self._around.device.remove_peer(self.tunnel)

    @property
    def hopeful(self) -> bool:
        """Whether a direct path is possible, as far as both sides' behaviour is known."""
        if self.them is None:
            return True
        if self.them.relay_only:
            return False
        return punchable(self._behaviour, behaviour_of(self.them))

    @property
    def _behaviour(self) -> NatBehaviour:
        return behaviour_of(self._around.own())

    # Packets.

    def send(self, packets: Sequence[bytes]) -> None:
        """Carry a batch of IP packets (or control messages) to the peer."""
        if self._forgotten:
            return
        now = self._now()
        self.wanted = True
        self._retry.used(now)
        self._perform(self.tunnel.send(packets, now))
        self._rearm()

    def datagrams_opened(self, outputs: Sequence[Output], path: IPath) -> None:
        """The device opened datagrams of this peer that came in by *path*."""
        now = self._now()
        if path.remote is None and RELAY not in self.ladder.ways:
            # It came online, and was faster than the coordinator's word: it awaits an answer.
            self._switched(self.ladder.relay_opened(now), now)
        if any(isinstance(output, Deliver) for output in outputs):
            self._heard(path, now)
        self._perform(outputs)
        self._rearm()

    def probe_received(self, datagram: bytes, path: IPath) -> None:
        """A probe with this peer's hint came in by *path*.

        :raises DecodeError: if it is not authentic.
        """
        probe = self.seal.open(datagram)
        if path.remote is not None and (self._around.relay_only or self._is_inner(path.remote)):
            return  # an answer would make the other side take the direct path
        now = self._now()
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
        way = _way_of(path)
        if way in self.ladder.ways:
            self._switched(self.ladder.heard(way, now), now)
        elif way != RELAY and not self._is_inner(path.remote):
            self._check(path.remote, now)

    def _is_inner(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint is in the mesh itself: that path would run through the tunnel, and
        the tunnel through that path, without end."""
        return ip_address(endpoint.host) in self._around.interface.network

    def _check(self, endpoint: Endpoint, now: float) -> None:
        """The peer shows up at an endpoint that is new: see whether it can be reached there."""
        if self._punch is None or self._punch.deadline is None:
            self._begin([endpoint], now)
        else:
            self._probe(self._punch.seen(endpoint, now))

    def _begin(self, candidates: Sequence[Endpoint], start: float) -> None:
        self._punch = Punch(candidates, start, self._around.tokens)

    def _ponged(self, probe: Probe, path: IPath, now: float) -> None:
        way = _way_of(path)
        rtt = None
        if self._punch is not None and way != RELAY:
            rtt = self._punch.ponged(probe.token, now)
        if rtt is not None:
            self.history.heard(now)
            self.ladder.found(way, now, rtt)
            return
        awaited, switches = self.ladder.ponged(way, probe.token, now)
        if awaited:
            self.history.heard(now)
        self._switched(switches, now)

    def _probe(self, pings: Sequence[tuple[int, Endpoint]]) -> None:
        for token, endpoint in pings:
            self._around.udp.send([self.seal.seal(PING, token, 0)], endpoint)
        self.probes += len(pings)

    def _expired(self) -> None:
        now = self._now()
        if self.tunnel.deadline is not None and now >= self.tunnel.deadline:
            self._perform(self.tunnel.expire(now))
        if self._handshake_again is not None and now >= self._handshake_again:
            self._handshake_again = None
            if not self.tunnel.established:
                self._perform(self.tunnel.initiate(now, urgent=True))
        if self._punch is not None:
            self._probe(self._punch.expire(now))
        ladder_deadline = self._ladder_deadline
        if ladder_deadline is not None and now >= ladder_deadline:
            for output in self.ladder.expire(now):
                if isinstance(output, SendPing):
                    ping = self.seal.seal(PING, output.token, output.size)
                    self._path(output.way).write([ping])
                else:
                    self._switched([output], now)
        if self._wants_meeting and now >= self._retry.deadline:
            self._retry.tried(now, self.hopeful)
            self._around.signal(Connect(self.address))
        self._rearm()

    @property
    def _ladder_deadline(self) -> float | None:
        """Unused, the relay need not be probed: else a thousand peers that never speak would ping
        each other through the coordinator, which are a million pairs."""
        idle = not self.wanted and self.ladder.ways.keys() <= {RELAY}
        return None if idle else self.ladder.deadline

    @property
    def _wants_meeting(self) -> bool:
        if self.ladder.is_direct or self._around.relay_only:
            return False
        return self.wanted and self.online and self._around.relay.link is not None

    def _perform(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            if isinstance(output, Transmit):
                self._transmit(output.datagrams)
            elif isinstance(output, Established):
                self._handshakes = 0

    def _transmit(self, datagrams: Sequence[bytes]) -> None:
        way = self.ladder.current
        if way is None:
            # Handshakes are made anew when there is a way again.
            self._waiting.extend(each for each in datagrams if each.startswith(TRANSPORT))
            return
        now = self._now()
        if self._handshake_again is None and datagrams[0].startswith(INITIATION):
            if self._handshakes < len(HANDSHAKE_AGAIN):
                self._handshake_again = now + HANDSHAKE_AGAIN[self._handshakes]
            self._handshakes += 1
        self.ladder.sent(now, max(map(len, datagrams)))
        self._path(way).write(datagrams)
        if self.ladder.doubled:
            self._relay.write(datagrams)

    def _path(self, way: Way) -> IPath:
        return self._relay if way == RELAY else self._around.udp.path_to(way)  # type: ignore[arg-type]

    def _switched(self, switches: Sequence[Switched], now: float) -> None:
        for switch in switches:
            before, after = self.describe(switch.before), self.describe(switch.after)
            self._record(before, after, switch.cause, switch.failed_since)
            if self.ladder.is_direct:
                if self._punch is not None:
                    self._punch.stop()
            elif switch.before is not None:
                self._retry.hint(now)
                self._around.path_failed()
            if switch.before is None and self._waiting:
                waiting = list(self._waiting)
                self._waiting.clear()
                self._transmit(waiting)
            if switch.before is None and not self.tunnel.established and self.wanted:
                self._perform(self.tunnel.initiate(now, urgent=True))

    def _record(self, before: str, after: str, cause: str, failed_since: float | None) -> None:
        self.since = self._now()
        self.history.record(self.since, before, after, cause, failed_since)
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
        return f"{self._relay.kind} relay" if way == RELAY else f"udp {way}"

    @property
    def path_kind(self) -> str | None:
        """``udp``, ``ssh`` or ``websocket``, or None without a way."""
        way = self.ladder.current
        health = self.ladder.health
        if way is None or health is None or health.state is State.DEAD:
            return None
        return self._relay.kind if way == RELAY else "udp"

    def _rearm(self) -> None:
        deadlines = [self.tunnel.deadline, self._ladder_deadline, self._handshake_again]
        if self._punch is not None:
            deadlines.append(self._punch.deadline)
        if self._wants_meeting:
            deadlines.append(self._retry.deadline)
        self._timer.set(min((at for at in deadlines if at is not None), default=None))


def _way_of(path: IPath) -> Way:
    return RELAY if path.remote is None else path.remote
