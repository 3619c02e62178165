"""What a peer needs of the machine that it runs on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tunnelmesh import privileges
from tunnelmesh.config import PeerConfig
from tunnelmesh.interfaces import ITunnelDevice
from tunnelmesh.noise.ciphers import quick_ciphers
from tunnelmesh.peer.reach.default_route import DefaultRoute, default_route
from tunnelmesh.peer.reach.local_addresses import local_addresses
from tunnelmesh.peer.reach.watch import Watch, routes
from tunnelmesh.wire.record import CHACHA20_POLY1305


@dataclass(frozen=True)
class System:
    """What a peer needs of the machine that it runs on; a simulation gives its own.

    :ivar watch: makes a :class:`~tunnelmesh.peer.reach.watch.Watch` (or its like) that calls its
        argument when the network has changed.
    :ivar open_device: as :func:`tunnelmesh.tun.device.open_device`.
    :ivar addresses: this machine's own addresses.
    :ivar unix_time: seconds since the epoch.
    :ivar drop_rights: as :func:`tunnelmesh.privileges.drop`, with the reactor and the state
        directory; called once everything is open.
    :ivar ciphers: what the processor is quick at, of the ciphers for records.
    :ivar inside: given the reactor, the one whose sockets can have the mesh address.
    :ivar route: the way out, to whose router one may talk; None where there is none.
    """

    open_device: Callable[..., ITunnelDevice]
    addresses: Callable[[], Sequence[str]]
    watch: Callable[[Any, Callable[[], None]], Any]
    unix_time: Callable[[], float] = time.time
    entropy: Callable[[int], bytes] = os.urandom
    random: Random = field(default_factory=Random)
    environment: dict[str, str] = field(default_factory=dict)
    route: Callable[[], DefaultRoute | None] = lambda: None
    drop_rights: Callable[[Any, Path], None] = lambda reactor, state_dir: None
    ciphers: frozenset[int] = frozenset({CHACHA20_POLY1305})
    inside: Callable[[Any], Any] = lambda reactor: reactor


def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The names of what the processor can do; none where that is not told."""
    try:
        with cpuinfo.open() as lines:
            told = (line for line in lines if line.startswith(("flags", "Features")))
            return set(next(told, "").split())
    except OSError:
        return set()


def real_system(config: PeerConfig) -> System:
    """This machine.

    :raises ConfigError: if the user to become cannot be.
    """
    from tunnelmesh.tun.device import open_device

    def addresses() -> Sequence[str]:
        return local_addresses(lambda name: name == config.tun_name)

    def watch(reactor: Any, changed: Callable[[], None]) -> Watch:
        return Watch(reactor, lambda: (addresses(), routes(config.tun_name)), time.time, changed)

    def route() -> DefaultRoute | None:
        return default_route(config.tun_name)

    return System(
        open_device,
        addresses,
        watch,
        environment=dict(os.environ),
        route=route,
        drop_rights=partial(privileges.drop, privileges.account(config.user)),
        ciphers=quick_ciphers(processor_flags()),
    )
