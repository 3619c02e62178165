"""What all remote peers of one machine share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from random import Random
from typing import Any

from tunnelmesh.interfaces import IPath
from tunnelmesh.noise.device import Device
from tunnelmesh.peer.access import Access
from tunnelmesh.peer.pair.hard_punch import HardPunching
from tunnelmesh.peer.pair.lane import Lane
from tunnelmesh.peer.reach.tcp_reach import TcpReach
from tunnelmesh.transports.dual_stack import DualStack
from tunnelmesh.transports.relay import RelayTransport
from tunnelmesh.wire.control import Abilities
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import Describe, Signal


@dataclass
class Surroundings:
    """The machine, as its remote peers see it.

    :ivar interface: this machine's mesh address, in the mesh's network; *interface6* its IPv6 one.
    :ivar received: takes datagrams that came by other ways than the main socket's.
    :ivar tcp: what is known of this machine's TCP.
    :ivar access: the access rules.
    :ivar abilities: what this machine tells of itself; *whole_records*: whether to send those.
    :ivar avoid: the coordinator's own endpoints, where no peer can be.
    :ivar path_changed: is called when the path to a peer has become another one.
    :ivar lanes: those that are express, by the peer's mesh addresses, packed.
    """

    reactor: Any
    random: Random
    entropy: Callable[[int], bytes]
    tokens: Callable[[], int]
    private_key: bytes
    interface: IPv4Interface
    interface6: IPv6Interface
    device: Device
    udp: DualStack
    relay: RelayTransport
    signal: Callable[[Signal], None]
    met: Callable[[], None]
    path_failed: Callable[[], None]
    avoid: Callable[[], Collection[Endpoint]]
    own: Callable[[], Describe]
    received: Callable[[Sequence[bytes], IPath], None]
    tcp: TcpReach
    hard: HardPunching
    access: Access
    relay_only: bool
    abilities: Abilities
    whole_records: bool
    relay_only_peers: frozenset[str] = frozenset()
    direct_only_peers: frozenset[str] = frozenset()
    path_changed: Callable[[], None] = lambda: None
    lanes: dict[bytes, Lane] = field(default_factory=dict)

    def only_relays(self, name: str) -> bool:
        """Whether what is for a peer goes through the coordinator even where it need not."""
        return self.relay_only or name in self.relay_only_peers

    def never_relays(self, name: str) -> bool:
        """Whether it does not even where it could."""
        return name in self.direct_only_peers
