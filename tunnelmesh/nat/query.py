"""One question to a STUN server, repeated until it is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint

FIRST_PAUSE = 0.1
"""Seconds until the first repetition; each further pause is twice as long (RFC 8489 §6.2.1).

A fifth of the RFC's, because a connection waits for the answer: on a path slower than that it
costs a packet or two of 28 bytes.
"""

PATIENCE = 3.1
"""Seconds to wait for a first sign of the server: five transmissions, at 0, 0.1, 0.3, 0.7, 1.5."""

SILENCE = 1.0
"""Seconds after which no answer means that there is none, once the server is known to be there.

Four transmissions: with a tenth of them lost either way, one wrong verdict in a thousand.
"""


@dataclass(frozen=True)
class Send:
    """Send *datagram* to *to*, from the socket that the machine was made for."""

    datagram: bytes
    to: Endpoint


class Query:
    """A Binding request, its repetitions, and what became of it.

    :param to: the server.
    :param entropy: gives that many random bytes.
    :param change: from where the answer is to come (RFC 5780 §7.2).
    :param patience: seconds to wait for an answer.
    :ivar answer: the answer, once there is one.
    :ivar given_up: nothing came.
    """

    def __init__(
        self,
        to: Endpoint,
        entropy: Callable[[int], bytes],
        now: float,
        change: stun.Change = stun.Change.NOTHING,
        patience: float = PATIENCE,
    ) -> None:
        self.to = to
        self.change = change
        self.patience = patience
        self.answer: stun.Message | None = None
        self.given_up = False
        self._transaction = entropy(stun.TRANSACTION)
        attributes = (stun.change_request(change),) if change else ()
        self._datagram = stun.encode(
            stun.Message(stun.Class.REQUEST, self._transaction, attributes)
        )
        self._started = self._next = now
        self._pause = FIRST_PAUSE

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`expire`, or None once there is nothing more to wait for."""
        if self.given_up or self.answer is not None:
            return None
        return min(self._next, self._started + self.patience)

    def expire(self, now: float) -> list[Send]:
        """Ask (again), or give up, if it is time to."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return []
        if now >= self._started + self.patience:
            self.give_up()
            return []
        self._next = now + self._pause
        self._pause *= 2
        return [Send(self._datagram, self.to)]

    def receive(self, message: stun.Message, source: Endpoint) -> bool:
        """Take *message* if it answers this question and comes from where it should.

        An answer from the server's own endpoint, where another was asked for, is taken too: it
        says that the server does not do that (see :attr:`honoured`).
        """
        if self.deadline is None or message.transaction != self._transaction:
            return False
        moved = _moved(self.to, source)
        if message.kind not in (stun.Class.SUCCESS, stun.Class.ERROR) or (
            moved and moved != self.change
        ):
            return False
        if moved != self.change:
            message = stun.Message(stun.Class.ERROR, message.transaction)
        self.answer = message
        return True

    @property
    def honoured(self) -> bool:
        """Whether the answer came, from where it was asked to come from."""
        return self.answer is not None and self.answer.kind is stun.Class.SUCCESS

    @property
    def refused(self) -> bool:
        """Whether an answer came that is of no use."""
        return self.answer is not None and self.answer.kind is not stun.Class.SUCCESS

    def give_up(self) -> None:
        """Wait no longer."""
        self.given_up = True

    def waited(self, now: float) -> float:
        """Seconds since the question was first asked."""
        return now - self._started


def _moved(asked: Endpoint, source: Endpoint) -> stun.Change:
    """In what the endpoint of an answer differs from the one that was asked."""
    moved = stun.Change.NOTHING
    if source.host != asked.host:
        moved |= stun.Change.ADDRESS
    if source.port != asked.port:
        moved |= stun.Change.PORT
    return moved
