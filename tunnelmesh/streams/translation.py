"""Which connection of this machine's kernel stands for which stream: a table as a NAT has one.

A program on this machine connects to a port of a peer that has no device. Its packets are turned
round (:mod:`tunnelmesh.wire.tcp`), so that the kernel itself ends the connection, at a listener of
ours::

    program:40000 -> peer:22           becomes    peer:ALIAS -> this machine:LISTENER
    this machine:LISTENER -> peer:ALIAS   becomes    peer:22 -> program:40000

where "program" and "this machine" are the same address. The alias tells the listener's connections
apart: a program may use one port of its own for connections to several ports of the peer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

FLOWS = 32_768
"""Flows known at a time, about 16 MB. There are more ports to take aliases from, so that one that
has become free is not the next to be taken, while the kernel remembers it (TIME-WAIT)."""

WAITING = 512
"""Flows at a time that are not taken up yet, as many as some web pages open at once; the SYNs of
further ones are dropped, as by a listener whose backlog is full, and sent again a second later."""

PATIENCE = 5.0
"""Seconds until a stream is open, which is said to succeed or fail within three; and then until the
kernel has taken the connection up, which takes it no time."""

LINGER = 130.0
"""Seconds without a packet until a flow whose connection this side has closed is forgotten. The
kernel still sends what the program has not read; it asks every 120 seconds at least whether there
is room (Linux's ``TCP_RTO_MAX``)."""

FIRST_ALIAS = 1024
ALIASES = 65536 - FIRST_ALIAS
"""Ports that aliases are taken from, in turn."""


class Flow:
    """One connection of a program to a port of a peer without a device.

    :ivar remote: the peer's mesh address, 4 or 16 bytes.
    :ivar program: the program's port; *service*: the peer's.
    :ivar sequence: the number that the program's connection began with: another one in a SYN means
        that the program has given this connection up and makes another.
    :ivar alias: the port that the listener sees.
    :ivar syn: the packet that waits until the stream is open; None from then on.
    :ivar active: whether the listener has sent packets since this was last looked at.
    :ivar stream: whatever the table's user keeps with it.
    """

    __slots__ = ("active", "alias", "program", "remote", "sequence", "service", "stream", "syn")

    def __init__(
        self, remote: bytes, program: int, service: int, sequence: int, alias: int, syn: bytes
    ) -> None:
        self.remote = remote
        self.program = program
        self.service = service
        self.sequence = sequence
        self.alias = alias
        self.syn: bytes | None = syn
        self.active = False
        self.stream: Any = None


class Flows:
    """The table. Flows are first waiting, then taken up, then lingering, then gone."""

    def __init__(self) -> None:
        self._by_program: dict[tuple[bytes, int, int], Flow] = {}
        self._by_alias: dict[int, Flow] = {}
        self._waiting: dict[Flow, float] = {}
        self._lingering: dict[Flow, float] = {}
        self._last_alias = -1

    def __len__(self) -> int:
        return len(self._by_alias)

    def __iter__(self) -> Iterator[Flow]:
        return iter(list(self._by_alias.values()))

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`expire`."""
        # All wait equally long, so that the first to begin is the first to end.
        firsts = [next(iter(each.values())) for each in (self._waiting, self._lingering) if each]
        return min(firsts, default=None)

    def find(self, remote: bytes, program: int, service: int) -> Flow | None:
        """The flow that a packet from a program belongs to."""
        return self._by_program.get((remote, program, service))

    def known_as(self, remote: bytes, alias: int) -> Flow | None:
        """The flow that a packet from the listener belongs to, or a connection to it."""
        flow = self._by_alias.get(alias)
        return flow if flow is not None and flow.remote == remote else None

    def begin(
        self, remote: bytes, program: int, service: int, sequence: int, syn: bytes, now: float
    ) -> Flow | None:
        """A program begins a connection, and none is known between these ports.

        :returns: a flow that waits for its stream; None if there are too many.
        """
        if len(self._waiting) >= WAITING:
            return None
        if len(self._by_alias) >= FLOWS:
            if not self._lingering:
                return None
            self.remove(next(iter(self._lingering)))
        flow = Flow(remote, program, service, sequence, self._free_alias(), syn)
        self._by_program[remote, program, service] = flow
        self._by_alias[flow.alias] = flow
        self._waiting[flow] = now + PATIENCE
        return flow

    def open(self, flow: Flow, now: float) -> bytes:
        """The stream is open: the kernel is to take the connection up.

        :returns: the SYN that was waiting.
        """
        syn, flow.syn = flow.syn, None
        assert syn is not None
        del self._waiting[flow]
        self._waiting[flow] = now + PATIENCE
        return syn

    def take_up(self, remote: bytes, alias: int) -> Flow | None:
        """The listener has a new connection.

        :returns: the flow that it is of; None if it is of none that waits for it.
        """
        flow = self.known_as(remote, alias)
        if flow is None or flow.syn is not None or self._waiting.pop(flow, None) is None:
            return None
        return flow

    def linger(self, flow: Flow, now: float) -> None:
        """The listener's connection is closed; packets may still follow."""
        if self._by_alias.get(flow.alias) is flow:
            self._waiting.pop(flow, None)
            self._lingering.pop(flow, None)  # or it would keep its old place
            self._lingering[flow] = now + LINGER
            flow.active = False

    def remove(self, flow: Flow) -> None:
        """Forget a flow at once."""
        if self._by_alias.get(flow.alias) is flow:
            del self._by_alias[flow.alias]
            del self._by_program[flow.remote, flow.program, flow.service]
            self._waiting.pop(flow, None)
            self._lingering.pop(flow, None)

    def expire(self, now: float) -> list[Flow]:
        """Forget what has lingered long enough without a packet, and what waits in vain.

        :returns: the latter.
        """
        for flow in _due(self._lingering, now):
            if flow.active:
                self.linger(flow, now)
            else:
                self.remove(flow)
        vain = _due(self._waiting, now)
        for flow in vain:
            self.remove(flow)
        return vain

    def _free_alias(self) -> int:
        while True:  # fewer are in use than there are
            self._last_alias = (self._last_alias + 1) % ALIASES
            alias = FIRST_ALIAS + self._last_alias
            if alias not in self._by_alias:
                return alias


def _due(until: dict[Flow, float], now: float) -> list[Flow]:
    due = []
    for flow, deadline in until.items():
        if deadline > now:
            break
        due.append(flow)
    return due
