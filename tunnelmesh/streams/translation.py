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

from collections.abc import Callable, Iterator

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
"""Seconds without a packet until a flow that both have ended is forgotten. The kernel still sends
what has not arrived, and asks every 120 seconds at least (Linux's ``TCP_RTO_MAX``) whether a
program that reads slowly has room."""

PROGRAM = 1
LISTENER = 2
BOTH = PROGRAM | LISTENER
"""Who has ended."""

FIRST_ALIAS = 1024
ALIASES = 65536 - FIRST_ALIAS
"""Ports that aliases are taken from, in turn."""


class Flow:
    """One connection of a program to a port of a peer without a device.

    :ivar ends: the two addresses of its packets, this machine's own and the peer's: 8 or 32 bytes.
    :ivar program: the program's port; *service*: the peer's.
    :ivar sequence: the number that the program's connection began with: another one in a SYN means
        that the program has given this connection up and makes another.
    :ivar alias: the port that the listener sees.
    :ivar syn: the packet that waits until the stream is open; None from then on.
    :ivar active: whether the listener has sent packets since this was last looked at.
    :ivar ended: which of the two have sent their last byte: :data:`PROGRAM`, :data:`LISTENER`.
    :ivar give_up: ends what belongs to it; the table's user sets it.
    """

    __slots__ = (
        "active",
        "alias",
        "ended",
        "ends",
        "give_up",
        "program",
        "sequence",
        "service",
        "syn",
    )

    def __init__(
        self, ends: bytes, program: int, service: int, sequence: int, alias: int, syn: bytes
    ) -> None:
        self.ends = ends
        self.program = program
        self.service = service
        self.sequence = sequence
        self.alias = alias
        self.syn: bytes | None = syn
        self.active = False
        self.ended = 0
        self.give_up: Callable[[], object] = _nothing


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

    def find(self, ends: bytes, program: int, service: int) -> Flow | None:
        """The flow that a packet from a program belongs to."""
        return self._by_program.get((ends, program, service))

    def known_as(self, ends: bytes, alias: int) -> Flow | None:
        """The flow that a packet from the listener belongs to, or a connection to it."""
        flow = self._by_alias.get(alias)
        return flow if flow is not None and flow.ends == ends else None

    def begin(
        self, ends: bytes, program: int, service: int, sequence: int, syn: bytes, now: float
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
        flow = Flow(ends, program, service, sequence, self._free_alias(), syn)
        self._by_program[ends, program, service] = flow
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

    def take_up(self, ends: bytes, alias: int, now: float) -> Flow | None:
        """The listener has a new connection.

        :returns: the flow that it is of; None if it is of none that waits for it.
        """
        flow = self.known_as(ends, alias)
        if flow is None or flow.syn is not None or self._waiting.pop(flow, None) is None:
            return None
        self.end(flow, 0, now)
        return flow

    def end(self, flow: Flow, who: int, now: float) -> None:
        """A FIN has passed, or a RST, which ends both.

        When both have ended the connection is closed, though packets may still follow.

        :param who: :data:`PROGRAM`, :data:`LISTENER` or :data:`BOTH`.
        """
        flow.ended |= who
        if flow.ended == BOTH and flow not in self._waiting:
            self._linger(flow, now)

    def remove(self, flow: Flow) -> None:
        """Forget a flow at once."""
        if self._by_alias.get(flow.alias) is flow:
            del self._by_alias[flow.alias]
            del self._by_program[flow.ends, flow.program, flow.service]
            self._waiting.pop(flow, None)
            self._lingering.pop(flow, None)

    def expire(self, now: float) -> list[Flow]:
        """Forget what has lingered long enough without a packet, and what waits in vain.

        :returns: the latter.
        """
        for flow in _due(self._lingering, now):
            if flow.active:
                self._linger(flow, now)
            else:
                self.remove(flow)
        vain = _due(self._waiting, now)
        for flow in vain:
            self.remove(flow)
        return vain

    def _linger(self, flow: Flow, now: float) -> None:
        if self._by_alias.get(flow.alias) is flow:
            self._lingering.pop(flow, None)  # or it would keep its old place
            self._lingering[flow] = now + LINGER
            flow.active = False
            flow.give_up = _nothing

    def _free_alias(self) -> int:
        while True:  # fewer are in use than there are
            self._last_alias = (self._last_alias + 1) % ALIASES
            alias = FIRST_ALIAS + self._last_alias
            if alias not in self._by_alias:
                return alias


def _nothing() -> None:
    """There is nothing to give up."""


def _due(until: dict[Flow, float], now: float) -> list[Flow]:
    due = []
    for flow, deadline in until.items():
        if deadline > now:
            break
        due.append(flow)
    return due
