"""What all tunnels of one device share: this machine's own side."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from tunnelmesh.noise.counters import Counters
from tunnelmesh.noise.opened import OpenedBuffer
from tunnelmesh.noise.primitives import StaticKey
from tunnelmesh.noise.reassembly import Reassembly
from tunnelmesh.noise.sealer import SealedBuffer
from tunnelmesh.noise.tai64n import RisingClock
from tunnelmesh.wire.wireguard import INDEX_SIZE

if TYPE_CHECKING:
    from tunnelmesh.noise.session import Session
    from tunnelmesh.noise.tunnel import Tunnel


class IndexTable:
    """Finds a message's session, or handshake, by the index this machine chose for it.

    :param entropy: gives that many random bytes; indices are random, so that they tell nothing.

    :ivar entries: whose it is, by index, and the session, if it is one's.
    """

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self.entries: dict[bytes, tuple[Tunnel, Session | None]] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def allocate(self, tunnel: Tunnel) -> bytes:
        """A free index (4 bytes), now taken by a handshake of *tunnel*."""
        index = self._entropy(INDEX_SIZE)
        while index in self.entries:
            index = self._entropy(INDEX_SIZE)
        self.entries[index] = tunnel, None
        return index

    def assign(self, index: bytes, tunnel: Tunnel, session: Session) -> None:
        """The handshake behind *index* has become a session."""
        self.entries[index] = tunnel, session

    def free(self, index: bytes) -> None:
        """Nothing is to be found by *index* any more."""
        del self.entries[index]

    def lookup(self, index: bytes) -> tuple[Tunnel, Session | None] | None:
        """The tunnel, and the session if *index* is one's; None for an unknown index."""
        return self.entries.get(index)


class BulkBuffers:
    """Where records are sealed, opened and put together: one for all sessions."""

    def __init__(self) -> None:
        self.sealed = SealedBuffer()
        self.opened = OpenedBuffer()
        self.reassembly = Reassembly()


class Local:
    """This machine's static key, its clocks and dice, and its table of indices.

    :param key: the static key.
    :param entropy: gives that many random bytes, fit for keys.
    :param random: for jitter.
    :param wall: seconds since 1970, UTC.
    :param mtu: the tunnel's MTU in bytes.
    """

    def __init__(
        self,
        key: StaticKey,
        *,
        entropy: Callable[[int], bytes],
        random: Random,
        wall: Callable[[], float],
        mtu: int,
    ) -> None:
        self.key = key
        self.entropy = entropy
        self.random = random
        self.clock = RisingClock(wall)
        self.indices = IndexTable(entropy)
        self.counters = Counters()
        self.mtu = mtu
        self._bulk: BulkBuffers | None = None

    def buffers(self) -> BulkBuffers:
        """Buffers for records; most of a megabyte, which a machine without bulk never needs."""
        if self._bulk is None:
            self._bulk = BulkBuffers()
        return self._bulk
