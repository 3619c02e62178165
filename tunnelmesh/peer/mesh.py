"""The mesh as one machine sees it: its members, and what the coordinator and the network tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from tunnelmesh.interfaces import IPath
from tunnelmesh.noise.load import TokenBucket
from tunnelmesh.paths.health import Health
from tunnelmesh.peer.known_peers import KnownPeers
from tunnelmesh.peer.members import Members
from tunnelmesh.peer.pair.remote import Remote
from tunnelmesh.peer.pair.surroundings import Surroundings
from tunnelmesh.peer.switch import Switch
from tunnelmesh.wire.administration import Removed, Rules
from tunnelmesh.wire.signal import Gone, Hold, Meet, Release, Roster, Signal

MEETINGS = 20.0
MEETINGS_BURST = 128.0
"""Meetings held in a second, and at once: each sends about a hundred packets to wherever the
coordinator says, so that more of them would make a weapon."""


class Mesh:
    """All remote peers: tells them what concerns them.

    :param stun_received: takes the STUN messages out of the main socket's datagrams.

    :ivar members: who they are.
    :ivar switch: moves their packets.
    :ivar access: the access rules.
    :ivar dropped: packets, datagrams and signals dropped, by reason.
    """

    def __init__(
        self,
        around: Surroundings,
        known: KnownPeers,
        stun_received: Callable[[Sequence[bytes], IPath], None],
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self.members = Members(around, known, self.dropped)
        self.access = around.access
        self.switch = Switch(around, self.members, stun_received, self.dropped)
        self._around = around
        self._meetings = TokenBucket(MEETINGS, MEETINGS_BURST)

    def close(self) -> None:
        """Stop everything."""
        self.switch.close()
        self.members.close()

    def link_changed(self, before: str, failed: Health | None) -> None:
        """The link is made of something else now."""
        for remote in self.members:
            remote.link_changed(before, failed)

    def reachability_changed(self) -> None:
        """What is known of this machine's NAT changed: pairs that could not meet may now."""
        for remote in self.members:
            remote.look_again()

    def network_changed(self) -> None:
        """This machine's network changed."""
        for remote in self.members:
            remote.network_changed()

    def admits(self, remote: Remote, port: int) -> bool:
        """Whether the access rules let a peer open a stream to a port of this machine."""
        now = self._around.reactor.seconds()
        return remote.guard is None or remote.guard.admits(port, now, self.dropped)

    def _rules_received(self, rules: Rules) -> None:
        if self.access.received(rules):
            for remote in self.members:
                remote.examine(self.access.guard(remote.address, remote.guard))

    def signal_received(self, signal: Signal) -> None:
        """The coordinator said something about another member."""
        if isinstance(signal, Roster):
            self.members.roster_received(signal)
        elif isinstance(signal, Removed):
            self.members.removed(signal.addresses)
        elif isinstance(signal, Rules):
            self._rules_received(signal)
        elif isinstance(signal, Meet | Hold | Release | Gone):
            remote = self.members.by_address.get(signal.address.packed)
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
