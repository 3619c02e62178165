"""Who is in the mesh, as the coordinator tells it and as far as this machine believes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from twisted.logger import Logger

from tunnelmesh.errors import TunnelMeshError, UnknownPeerError
from tunnelmesh.peer.known_peers import KnownPeers, Pin
from tunnelmesh.peer.pair.remote import Remote
from tunnelmesh.peer.pair.surroundings import Surroundings
from tunnelmesh.wire.enrol import is_name
from tunnelmesh.wire.signal import Roster, RosterEntry

EAGER = 16
"""Up to so many online peers, paths are sought before anybody sends: the first packet then finds
one. In a larger mesh that would be a storm whenever somebody comes online."""

_log = Logger()


class Members:
    """The other members, and how they are found: by name, mesh address or probe hint.

    :ivar remotes: the members, by name.
    :ivar refused: names that are not who they were, with what is odd about them.
    :ivar dropped: counts members that cannot be, by reason.
    """

    def __init__(self, around: Surroundings, known: KnownPeers, dropped: Counter[str]) -> None:
        self.remotes: dict[str, Remote] = {}
        self.refused: dict[str, str] = {}
        self.dropped = dropped
        self.by_address: dict[bytes, Remote] = {}
        self.by_hint: dict[bytes, Remote] = {}
        self._around = around
        self._known = known
        self._linked = False
        self._named: set[IPv4Address] = set()
        self._offered: dict[str, RosterEntry] = {}

    def __iter__(self) -> Iterator[Remote]:
        """Every member, at this moment: what is done to one may dismiss another."""
        return iter(list(self.remotes.values()))

    def roster_received(self, roster: Roster) -> None:
        """The coordinator says who is a member, and who of them is online.

        At the end of the whole roster, those whom it has not named are members no more.
        """
        entries = [entry for entry in roster.peers if self._is_possible(entry)]
        self.dropped["malformed member"] += len(roster.peers) - len(entries)
        strange = self._known.believe(
            {entry.name: Pin(entry.key, entry.address) for entry in entries}
        )
        for entry in entries:
            self._named.add(entry.address)
            if entry.name in strange:
                self._refuse(entry, strange[entry.name])
            else:
                self._admit(entry)
        if roster.complete:
            offered = {entry.address for entry in self._offered.values()}
            known = offered | {remote.address for remote in self.remotes.values()}
            self.removed(known - self._named)
            self.roster_follows()
        self._be_eager()

    def roster_follows(self) -> None:
        """What comes next is the whole roster, from its beginning."""
        self._named.clear()

    def removed(self, addresses: Iterable[IPv4Address]) -> None:
        """These are members no more. Their pins stay: another key under their name is refused."""
        for address in addresses:
            self._named.discard(address)
            remote = self.by_address.get(address.packed)
            if remote is not None:
                _log.info("{peer} is no member any more", peer=remote.name)
                self._dismiss(remote)
            for name in [n for n, entry in self._offered.items() if entry.address == address]:
                del self._offered[name], self.refused[name]

    def linked(self, linked: bool) -> None:
        """Whether there is a link to the coordinator."""
        self._linked = linked
        if not linked:  # otherwise a roster follows, which says who is there now
            for remote in self:
                remote.presence(remote.online, linked)

    def close(self) -> None:
        """Send nothing to anybody any more."""
        for remote in self:
            remote.forget()

    def forget(self, name: str) -> None:
        """Believe the next key that is offered for a name.

        :raises UnknownPeerError: if none is pinned.
        """
        self._known.forget(name)
        offered, self._offered, self.refused = self._offered, {}, {}
        self.roster_received(Roster(tuple(offered.values())))

    def find(self, name: str) -> Remote:
        """A member, by name (with or without ``.mesh``) or mesh address.

        :raises UnknownPeerError: if there is none, or its key is not believed.
        """
        plain = name.lower().removesuffix(".mesh")
        if plain in self.refused:
            raise UnknownPeerError(f"{plain} {self.refused[plain]}")
        found = self.remotes.get(plain)
        for remote in self:
            if plain in (str(remote.address), str(remote.address6)):
                found = remote
        if found is None:
            names = ", ".join(sorted(self.remotes)) or "none yet"
            raise UnknownPeerError(f"there is no peer {name!r} in the mesh; known are: {names}")
        return found

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
            remote = self._renamed(entry) or self._new(entry)
            if remote is None:
                return
            self.refused.pop(entry.name, None)
            self._offered.pop(entry.name, None)
            self.remotes[entry.name] = remote
        if remote.online != entry.online:
            state = "online" if entry.online else "offline"
            _log.info("{peer} is {state}", peer=remote.name, state=state)
        remote.userspace, remote.seen = entry.userspace, entry.seen
        remote.presence(entry.online, self._linked)

    def _renamed(self, entry: RosterEntry) -> Remote | None:
        """The member that has had another name so far; its session goes on."""
        remote = self.by_address.get(entry.address.packed)
        if remote is None:
            return None
        around = self._around
        ways = around.only_relays(entry.name), around.never_relays(entry.name)
        if remote.key != entry.key or ways != (remote.relay_only, remote.direct_only):
            self._dismiss(remote)
            return None
        _log.info("{old} is called {new} now", old=remote.name, new=entry.name)
        del self.remotes[remote.name]
        remote.name = entry.name
        return remote

    def _new(self, entry: RosterEntry) -> Remote | None:
        try:
            remote = Remote(entry, self._around)
        except TunnelMeshError as error:
            _log.warn("{name} is left out: {error}", name=entry.name, error=error)
            return None
        self.by_address[remote.address.packed] = remote
        self.by_address[remote.address6.packed] = remote
        self.by_hint[remote.seal.hint] = remote
        return remote

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
        del self.by_address[remote.address.packed]
        del self.by_address[remote.address6.packed]
        del self.by_hint[remote.seal.hint]

    def _be_eager(self) -> None:
        online = [remote for remote in self.remotes.values() if remote.online]
        if len(online) <= EAGER:
            for remote in online:
                remote.seek()
