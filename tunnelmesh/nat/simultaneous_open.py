"""When to open a TCP connection that the other side opens at the same moment (RFC 9293 §3.5).

Each side's SYN leaves its own NAT, which then lets the other's in (RFC 5382 §4.3 wants that of
every NAT). A SYN that comes too early and is dropped is repeated by the kernel after a second; one
that is refused, by a NAT with bad manners or a machine that was not ready, has to be sent anew.
"""

from __future__ import annotations

ROUNDS = (0.0, 0.1, 0.3, 0.7, 1.5, 2.5)
"""Seconds after the start at which to connect, unless an attempt is under way: dense first, for the
two sides start within milliseconds of each other."""

PATIENCE = 4.0
"""Seconds that an attempt takes in all: the kernel repeats a SYN after one and after three."""


class SimultaneousOpen:
    """One side's part in it.

    :param start: when to begin.

    :ivar deadline: when to call :meth:`expire`, or None when it is over.
    :ivar connects: connections begun so far.
    """

    def __init__(self, start: float) -> None:
        self.deadline: float | None = start
        self.connects = 0
        self._start = start
        self._round = 0
        self._pending = False

    def expire(self, now: float) -> bool:
        """Time has come.

        :returns: whether to connect.
        """
        if self.deadline is None or now < self.deadline:
            return False
        if now >= self._start + PATIENCE:
            self.deadline = None
            return False
        while self._round < len(ROUNDS) and now >= self._start + ROUNDS[self._round]:
            self._round += 1
        last = self._round == len(ROUNDS)
        self.deadline = self._start + (PATIENCE if last else ROUNDS[self._round])
        if self._pending:
            return False
        self._pending = True
        self.connects += 1
        return True

    def failed(self) -> None:
        """The connection did not come about, or the other end was not who it should be."""
        self._pending = False

    def stop(self) -> None:
        """A path is found, or none is wanted any more."""
        self.deadline = None
