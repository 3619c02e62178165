"""The sessions with one remote peer: which one to send by, and which to receive by still.

A session's initiator sends by it at once. Its responder waits until something has come by it, which
shows that the initiator got the response; until then the session is *next* (paper, §5.4.3 and §6).
"""

from __future__ import annotations

from tunnelmesh.noise.local import IndexTable
from tunnelmesh.noise.session import Session

PREVIOUS = 2
"""Older sessions kept, for packets still on their way. Crossing handshakes make two at a time."""


class Keyring:
    """Current, next and previous sessions.

    :param indices: where a session's index is freed when it goes.
    :param prevails: if both sides' initiations cross, this side's session is used, not the other's.

    :ivar current: the session to send by.
    """

    __slots__ = ("_indices", "_next", "_prevails", "_previous", "current")

    def __init__(self, indices: IndexTable, *, prevails: bool) -> None:
        self.current: Session | None = None
        self._indices = indices
        self._prevails = prevails
        self._next: Session | None = None
        self._previous: list[Session] = []

    def completed(self, session: Session) -> None:
        """This side, the initiator, has a new session."""
        self._retire(self.current)
        self.current = session

    def offered(self, session: Session) -> None:
        """This side, the responder, has a new session, if the response arrives."""
        if self._next is not None:
            self._indices.free(self._next.local)
        self._next = session

    def confirm(self, session: Session) -> bool:
        """Something came by *session*.

        :returns: whether it has become the current one now.
        """
        if session is not self._next:
            return False
        self._next = None
        current = self.current
        crossed = current is not None and current.initiator and current.born >= session.born
        if crossed and self._prevails:
            self._retire(session)
            return False
        self._retire(current)
        self.current = session
        return True

    def clear(self) -> None:
        """Forget every session."""
        for session in (self.current, self._next, *self._previous):
            if session is not None:
                self._indices.free(session.local)
        self.current = self._next = None
        self._previous = []

    def _retire(self, session: Session | None) -> None:
        if session is not None:
            self._previous.insert(0, session)
            for old in self._previous[PREVIOUS:]:
                self._indices.free(old.local)
            del self._previous[PREVIOUS:]
