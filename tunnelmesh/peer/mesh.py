"""The mesh as one machine sees it: who is in it, and what goes where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from twisted.logger import Logger
from zope.interface import implementer

from tunnelmesh.errors import DecodeError, TunnelMeshError, UnknownPeerError
from tunnelmesh.interfaces import IPath, IPathUser, ITunnelDevice, ITunnelUser
from tunnelmesh.noise.load import TokenBucket
from tunnelmesh.noise.outputs import Deliver, Output, Reply
from tunnelmesh.paths.health import Health
from tunnelmesh.peer.known_peers import KnownPeers, Pin
from tunnelmesh.peer.remote import Remote
from tunnelmesh.peer.surroundings import Surroundings
from tunnelmesh.transports.relay import RelayPath
from tunnelmesh.wire import control
from tunnelmesh.wire.control import ECHO_REPLY, ECHO_REQUEST, Echo
from tunnelmesh.wire.enrol import is_name
from tunnelmesh.wire.probe import hint_of, is_probe
from tunnelmesh.wire.signal import Gone, Hold, Meet, Release, Roster, RosterEntry, Signal
from tunnelmesh.wire.stun import is_stun

EAGER = 16
"""Up to so many online peers, paths are sought before anybody sends: the first packet then finds
one. In a larger mesh that would be a storm whenever somebody comes online."""

MEETINGS = 20.0
MEETINGS_BURST = 128.0
"""Meetings held in a second, and at once: each sends about a hundred packets to wherever the
coordinator says, so that more of them would make a weapon."""

STRAYS = 20.0
"""Strays a second, and at once, that are looked into: anybody can send them, and to find out whom
one concerns takes a look at every member."""

_DATA = b"\x04"
"""First byte of a WireGuard transport message: most of what arrives."""

_TUNNEL = (b"\x01", b"\x02", b"\x03", _DATA)
"""First bytes of WireGuard's messages. A STUN response begins with 1 as well, and is told apart by
its magic cookie."""

_log = Logger()


@implementer(IPathUser, ITunnelUser)
class Mesh:
    """Moves packets between the tunnel device and the remote peers.

    :param stun_received: takes the STUN messages out of the main socket's datagrams.

    :ivar remotes: the other members, by name.
    :ivar refused: names that are not who they were, with what is odd about them.
    :ivar dropped: packets and datagrams dropped, by reason.
    """

    def __init__(
        self,
        around: Surroundings,
        known: KnownPeers,
        stun_received: Callable[[Sequence[bytes], IPath], None],
    ) -> None:
        self.remotes: dict[str, Remote] = {}
        self.refused: dict[str, str] = {}
        self.dropped: Counter[str] = Counter()
        self.device: ITunnelDevice | None = None
        self.echoed: Callable[[Remote, int], None] | None = None
        self._around = around
        self._known = known
        self._stun_received = stun_received
        self._linked = False
        self._meetings = TokenBucket(MEETINGS, MEETINGS_BURST)
        self._strays = TokenBucket(STRAYS, STRAYS)
        self._offered: dict[str, RosterEntry] = {}
        self._routes: dict[bytes, Remote] = {}
        self._hints: dict[bytes, Remote] = {}

    # Members.

    def roster_received(self, roster: Roster) -> None:
        """The coordinator says who is a member, and who of them is online."""
        entries = [entry for entry in roster.peers if self._is_possible(entry)]
        self.dropped["malformed member"] += len(roster.peers) - len(entries)
        strange = self._known.believe(
            {entry.name: Pin(entry.key, entry.address) for entry in entries}
        )
        for entry in entries:
            if entry.name in strange:
                self._refuse(entry, strange[entry.name])
            else:
                self._admit(entry)
        self._be_eager()

    def linked(self, linked: bool) -> None:
        """Whether there is a link to the coordinator."""
        self._linked = linked
        if not linked:  # otherwise a roster follows, which says who is there now
            for remote in list(self.remotes.values()):
                remote.presence(remote.online, linked)

    def link_changed(self, before: str, failed: Health | None) -> None:
        """The link is made of something else now."""
        for remote in self.remotes.values():
            remote.link_changed(before, failed)

    def reachability_changed(self) -> None:
        """What is known of this machine's NAT changed: pairs that could not meet may now."""
        for remote in list(self.remotes.values()):
            remote.look_again()

    def use(self, device: ITunnelDevice) -> None:
        """Packets come from, and go to, this device."""
        self.device = device
        device.start(self)

    def close(self) -> None:
        """Stop everything."""
        if self.device is not None:
            self.device.stop()
        for remote in self.remotes.values():
            remote.forget()

    def network_changed(self) -> None:
        """This machine's network changed."""
        for remote in list(self.remotes.values()):
            remote.network_changed()

    def forget(self, name: str) -> None:
        """Believe the next key that is offered for a name.

        :raises UnknownPeerError: if none is pinned.
        """
        self._known.forget(name)
        offered, self._offered, self.refused = self._offered, {}, {}
        self.roster_received(Roster(tuple(offered.values())))

    def remote(self, name: str) -> Remote:
        """A member, by name (with or without ``.mesh``) or mesh address.

        :raises UnknownPeerError: if there is none, or its key is not believed.
        """
        plain = name.lower().removesuffix(".mesh")
        if plain in self.refused:
            raise UnknownPeerError(f"{plain} {self.refused[plain]}")
        found = self.remotes.get(plain)
        for remote in self.remotes.values():
            if plain in (str(remote.address), str(remote.address6)):
                found = remote
        if found is None:
            names = ", ".join(sorted(self.remotes)) or "none yet"
            raise UnknownPeerError(f"there is no peer {name!r} in the mesh; known are: {names}")
        return found

    def signal_received(self, signal: Signal) -> None:
        """The coordinator said something about another member."""
        if isinstance(signal, Roster):
            self.roster_received(signal)
        elif isinstance(signal, Meet | Hold | Release | Gone):
            remote = self._routes.get(signal.address.packed)
            if remote is None:
                self.dropped["signal about a stranger"] += 1
            elif isinstance(signal, Meet):
                if self._meetings.take(self._around.reactor.seconds()):
                    remote.meet(signal)
                else:
                    self.dropped["too many meetings"] += 1
            elif isinstance(signal, Hold):
                self._around.relay.path_to(signal.address).pauseProducing()
            elif isinstance(signal, Release):
                self._around.relay.path_to(signal.address).resumeProducing()

    def _is_possible(self, entry: RosterEntry) -> bool:
        """Whether there can be such a member: packets from an address outside the mesh, or from
        our own, would pass for somebody else's."""
        interface = self._around.interface
        possible = entry.address in interface.network and entry.address != interface.ip
        return possible and is_name(entry.name) and len(entry.key) == 32

    def _admit(self, entry: RosterEntry) -> None:
        remote = self.remotes.get(entry.name)
        if remote is not None and (remote.key, remote.address) != (entry.key, entry.address):
            self._dismiss(remote)
            remote = None
        if remote is None:
            holder = self._routes.get(entry.address.packed)
            if holder is not None:
                self._dismiss(holder)  # the address is another member's by now
            try:
                remote = Remote(entry, self._around)
            except TunnelMeshError as error:
                _log.warn("{name} is left out: {error}", name=entry.name, error=error)
                return
            self.refused.pop(entry.name, None)
            self._offered.pop(entry.name, None)
            self.remotes[entry.name] = remote
            self._routes[remote.address.packed] = remote
            self._routes[remote.address6.packed] = remote
            self._hints[remote.seal.hint] = remote
        if remote.online != entry.online:
            state = "online" if entry.online else "offline"
            _log.info("{peer} is {state}", peer=remote.name, state=state)
        remote.presence(entry.online, self._linked)

    def _refuse(self, entry: RosterEntry, odd: str) -> None:
        if self.refused.get(entry.name) != odd:
            _log.warn("{name} is refused: it {odd}", name=entry.name, odd=odd)
        self.refused[entry.name] = odd
        self._offered[entry.name] = entry
        if entry.name in self.remotes:
            self._dismiss(self.remotes[entry.name])

    def _dismiss(self, remote: Remote) -> None:
        remote.forget()
        del self.remotes[remote.name]
        del self._routes[remote.address.packed]
        del self._routes[remote.address6.packed]
        del self._hints[remote.seal.hint]

    def _be_eager(self) -> None:
        online = [remote for remote in self.remotes.values() if remote.online]
        if len(online) <= EAGER:
            for remote in online:
                remote.seek()

    # Packets out.

    def packets_leaving(self, packets: Sequence[bytes]) -> None:
        """The kernel sends these into the tunnel."""
        routes = self._routes
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
            remote.send(batch)

    # Datagrams in.

    def datagrams_received(self, datagrams: Sequence[bytes], path: IPath) -> None:
        """A batch arrived from one place: tunnel, probes or STUN, told apart by first bytes."""
        if any(datagram[:1] != _DATA for datagram in datagrams):
            datagrams = self._tunnel_only(datagrams, path)
        if datagrams:
            self._open(datagrams, path)

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
        for datagram in datagrams:
            if is_probe(datagram):
                self._probe(datagram, path)
            elif path.remote is not None and is_stun(datagram):
                self._stun_received([datagram], path)
            elif datagram[:1] in _TUNNEL:
                tunnel.append(datagram)
            else:
                self.dropped["unknown datagram"] += 1
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
        now = self._around.reactor.seconds()
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
                    self._deliver(remote, output.packets)
        if device.counters.unknown_index != strays and self._strays.take(now):
            self._strayed(path)

    def _strayed(self, path: IPath) -> None:
        """Something came for a session that is not ours: this machine may have restarted."""
        for remote in self.remotes.values():
            if remote.is_at(path):
                remote.restore_session()

    def _deliver(self, remote: Remote, packets: Sequence[bytes]) -> None:
        """Hand packets to the kernel, if they are from the peer's own address to ours.

        The kernel would deliver to any other address that this machine has, or forward.
        """
        own4, own6 = remote.address.packed, remote.address6.packed
        both4 = own4 + self._around.interface.ip.packed
        both6 = own6 + self._around.address6.packed
        genuine = []
        for packet in packets:
            version = packet[0] >> 4
            ends = packet[12:20] if version == 4 else packet[8:40]
            if ends == (both4 if version == 4 else both6):
                genuine.append(packet)
            elif control.is_control(packet):
                self._control(remote, packet)
            elif ends.startswith(own4 if version == 4 else own6):
                self.dropped["not to this machine's own address"] += 1
            else:
                self.dropped["not the peer's own address"] += 1
        if genuine:
            remote.wanted = True
            if self.device is not None:
                self.device.write(genuine)

    def _control(self, remote: Remote, plaintext: bytes) -> None:
        try:
            message = control.decode(plaintext)
        except DecodeError:
            self.dropped["bad control message"] += 1
            return
        if message is None:
            self.dropped["unknown control message"] += 1
        elif message.kind == ECHO_REQUEST:
            remote.send([Echo(ECHO_REPLY, message.token).encode()])
        elif self.echoed is not None:
            self.echoed(remote, message.token)
