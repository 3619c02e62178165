"""This machine's own place in the mesh: what it is called, and how it ceases to be a member."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from tunnelmesh.errors import ConfigError, EnrolmentError, ExpelledError, LinkError
from tunnelmesh.peer import membership as memberships
from tunnelmesh.transports.reasons import printable
from tunnelmesh.wire.administration import Leave, Rename, Renamed
from tunnelmesh.wire.enrol import is_name
from tunnelmesh.wire.signal import LEFT, Refused, Signal

if TYPE_CHECKING:
    from tunnelmesh.peer.node import Node

PATIENCE = 5.0
"""Seconds for the coordinator to answer: a round trip, and a transaction on a slow disk."""

_log = Logger()


class Standing:
    """Asks the coordinator, and writes down what it says.

    :param expelled: is called when this machine is no member any more, with what to do.
    """

    def __init__(self, node: Node, reactor: Any, expelled: Callable[[LinkError], None]) -> None:
        self._node = node
        self._reactor = reactor
        self._expelled = expelled
        self._awaited: Deferred[Renamed | Refused] | None = None
        self._leaves = False

    def called(self, name: str) -> None:
        """The coordinator says what this machine is called."""
        node = self._node
        before = node.membership.name
        if name == before or not is_name(name):
            return
        node.membership = replace(node.membership, name=name)
        _log.info("this machine is called {name} now, and was {before}", name=name, before=before)
        self.remember()

    def remember(self) -> None:
        """Write the membership down as it is now."""
        try:
            memberships.save(self._node.config.state_dir, self._node.membership)
        except ConfigError as error:
            _log.warn("what changed is not remembered: {error}", error=error)

    def renamed(self, message: Renamed) -> None:
        """The coordinator gave this machine a name, asked or not, or refuses to."""
        if not message.refusal:
            self.called(message.name)
        self._answered(message)

    def refused(self, message: Refused) -> None:
        """The coordinator says that this machine is no member any more."""
        if message.code == LEFT and self._leaves:
            self._answered(message)
        else:
            self._expelled(ExpelledError(f"the coordinator says: {printable(message.message)}"))

    async def rename(self, name: str) -> dict[str, Any]:
        """Ask for another name.

        :raises EnrolmentError: if the coordinator refuses.
        :raises LinkError: if it cannot be asked.
        """
        if not is_name(name):
            raise EnrolmentError(
                "the name must be 1 to 63 letters, digits and inner hyphens, in lower case"
            )
        before = self._node.membership.name
        answer = await self._ask(Rename(name))
        if answer is None:
            raise LinkError("the coordinator cannot be asked at present: try again later")
        if isinstance(answer, Renamed) and answer.refusal:
            raise EnrolmentError(printable(answer.refusal))
        return {"name": self._node.membership.name, "before": before}

    async def leave(self, *, force: bool) -> dict[str, Any]:
        """Be no member any more; the key stays.

        :param force: also if the coordinator cannot be told.
        :raises LinkError: if it cannot.
        """
        self._leaves = True
        try:
            told = await self._ask(Leave()) is not None
        finally:
            self._leaves = False
        name = self._node.membership.name
        if not (told or force):
            raise LinkError(
                "the coordinator cannot be told at present, so that this machine would stay on its"
                " list: try again later, or leave with --force and have"
                f" 'tunnelmesh revoke {name}' run there"
            )
        memberships.forget(self._node.config.state_dir)
        _log.info("this machine has left the mesh")
        return {"name": name, "told": told}

    async def _ask(self, question: Signal) -> Renamed | Refused | None:
        """What the coordinator answers, if it does."""
        if self._node.link.session is None:
            return None
        if self._awaited is not None:
            raise LinkError("the coordinator is being asked already: try again in a moment")
        awaited = self._awaited = Deferred()
        self._node.link.send(question)
        try:
            return await awaited.addTimeout(PATIENCE, self._reactor)
        except TimeoutError:
            return None
        finally:
            self._awaited = None

    def _answered(self, message: Renamed | Refused) -> None:
        if self._awaited is not None and not self._awaited.called:
            self._awaited.callback(message)
