"""Datagrams of one length that lie in memory one after the other, to be sent in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAX_SEGMENTS = 64
"""Datagrams in one call at most (UDP_MAX_SEGMENTS of older kernels)."""

MAX_PAYLOAD = 65_507
"""Bytes in one call at most: what an IPv4 packet carries."""


class Run(NamedTuple):
    """Datagrams of one length, of which only the last may be shorter. An empty one is alone.

    :ivar buffers: the datagrams' bytes, cut anyhow: what counts is what they make when joined. They
        may be views of memory that is used again, so a run is sent at once or copied.
    :ivar segment: bytes of each datagram but the last.
    :ivar count: datagrams.
    """

    buffers: Sequence[bytes | memoryview]
    segment: int
    count: int  # type: ignore[assignment]  # a tuple has a method of that name, not needed here

    def datagrams(self) -> list[bytes]:
        """Copies of the datagrams, one by one."""
        whole = b"".join(self.buffers)
        if self.count == 1:
            return [whole]
        return [whole[at : at + self.segment] for at in range(0, len(whole), self.segment)]

    def parts(self) -> list[Run]:
        """The same datagrams in runs that one call can send each."""
        if self.count <= MAX_SEGMENTS and self.count * self.segment <= MAX_PAYLOAD:
            return [self]
        most = min(MAX_SEGMENTS, max(1, MAX_PAYLOAD // self.segment))
        if self.count <= most:
            return [self]
        whole = memoryview(self.buffers[0] if len(self.buffers) == 1 else b"".join(self.buffers))
        step = most * self.segment
        return [
            Run([whole[at * self.segment :][:step]], self.segment, min(most, self.count - at))
            for at in range(0, self.count, most)
        ]
