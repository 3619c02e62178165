"""Refuse packets that were seen before.

The usual window (RFC 6479) is a bitmap that slides. Here each of the window's slots holds one more
than the largest counter accepted among those that fall into it (modulo the window's size), and a
counter is new if it is at least that. Nothing slides and nothing is ever cleared, however far the
counter jumps. It accepts all that the bitmap accepts, and no counter twice. Beyond the bitmap it
also takes a packet from before the window whose slot has not been used since, which is harmless:
that packet was surely never accepted.
"""

from __future__ import annotations

from array import array

WINDOW = 8192
"""How far back a late packet is still taken for certain. WireGuard asks for about 2,000; while a
path changes, the slower one may be 20 ms behind, which is this many packets at 400,000 a second."""

FIRST_WINDOW = 256
"""Slots as long as no later counter has come: most of a mesh's sessions never carry more, and need
not take 64 KB each."""

LIMIT = 2**64 - 2**13 - 1
"""The first counter that is never valid: REJECT-AFTER-MESSAGES (paper, §6.1)."""


class ReplayWindow:
    """Which counters of one session were accepted.

    :ivar accepted: how many.
    :ivar expected: how many the sender had sealed, at least: one more than the largest.
    """

    __slots__ = ("_next", "_size", "accepted", "expected")

    def __init__(self) -> None:
        self.accepted = 0
        self.expected = 0
        self._size = FIRST_WINDOW
        self._next = array("Q", bytes(8 * FIRST_WINDOW))

    def accept(self, counter: int) -> bool:
        """Take a counter, once.

        Only an authentic packet's counter may be asked about: asking uses it up.

        :returns: False if it was taken before, may have been, or is beyond :data:`LIMIT`.
        """
        if counter >= FIRST_WINDOW == self._size and counter < LIMIT:
            # So far each counter had a slot of its own, which it keeps.
            self._next.extend(bytes(WINDOW - FIRST_WINDOW))
            self._size = WINDOW
        slot = counter % self._size
        if counter < self._next[slot] or counter >= LIMIT:
            return False
        self._next[slot] = counter = counter + 1
        self.accepted += 1
        if counter > self.expected:
            self.expected = counter
        return True

    def accept_run(self, first: int, count: int) -> bool:
        """Take consecutive counters that are all later than any before, at once.

        :returns: False, and none is taken, if they are not, or it is not that simple: ask about
            each of them.
        """
        stop = first + count
        slot = first % self._size
        is_simple = slot + count <= self._size and (stop <= FIRST_WINDOW or self._size == WINDOW)
        if first < self.expected or stop > LIMIT or not is_simple:
            return False
        # Of all counters that share a slot, the same are below this as are below one of the run.
        self._next[slot : slot + count] = array("Q", (stop,)) * count
        self.accepted += count
        self.expected = stop
        return True
