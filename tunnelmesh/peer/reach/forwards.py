"""Ports of a router's that lead to this machine: asked for, or told by who set them up by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from tunnelmesh.nat.addresses import is_reachable
from tunnelmesh.peer.reach.port_mapping import PortMapping
from tunnelmesh.peer.reach.resolve import addresses_of
from tunnelmesh.wire.endpoint import Endpoint

_log = Logger()


class Forwards:
    """The endpoints at which others reach the main socket without any punching.

    :param mapping: asks the router; None if it is not to be asked.
    :param advertised: host and port of what the user has set up, the hosts by name or address.
    :param changed: called when there are other endpoints than before.
    """

    def __init__(
        self,
        reactor: Any,
        mapping: PortMapping | None,
        advertised: Sequence[tuple[str, int]],
        changed: Callable[[], None],
    ) -> None:
        self.mapping = mapping
        self._reactor = reactor
        self._advertised = advertised
        self._changed = changed
        self._found: tuple[Endpoint, ...] = ()
        self._naming: Deferred[None] = succeed(None)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where the routers' ports are."""
        asked = None if self.mapping is None else self.mapping.external
        return self._found if asked is None else (asked, *self._found)

    @property
    def is_settled(self) -> bool:
        """Whether it is known what the router does."""
        return self.mapping is None or self.mapping.is_settled

    def start(self, port: int) -> None:
        """Begin.

        :param port: the main socket's.
        """
        if self.mapping is not None:
            self.mapping.start(port)
        self._resolve()

    def restart(self) -> None:
        """The network may be another one now, and names may mean other addresses."""
        if self.mapping is not None:
            self.mapping.restart()
        self._resolve()

    def check(self) -> None:
        """See whether the router still does what it was asked to."""
        if self.mapping is not None:
            self.mapping.check()

    def look(self) -> None:
        """Find out what the router does now, for somebody who wants to know."""
        if self.mapping is not None:
            self.mapping.look()

    def stop(self) -> Deferred[None]:
        """Give back what was asked for; fires within a second or so."""
        self._naming.cancel()
        return succeed(None) if self.mapping is None else self.mapping.stop()

    def described(self) -> dict[str, Any]:
        """For JSON."""
        asked: dict[str, Any] = {"why_not": {"router": "not asked: --no-port-mapping"}}
        if self.mapping is not None:
            asked = self.mapping.described()
        return {**asked, "advertised": list(map(str, self._found))}

    def _resolve(self) -> None:
        self._naming.cancel()
        self._naming = Deferred.fromCoroutine(self._find())

    async def _find(self) -> None:
        found: dict[Endpoint, None] = {}
        for host, port in self._advertised:
            try:
                addresses = await addresses_of(self._reactor, host)
            except CancelledError:
                return
            if not addresses:
                _log.warn("no address for {host}, which is to be advertised", host=host)
            found |= {Endpoint(each, port): None for each in addresses if is_reachable(each)}
        if tuple(found) != self._found:
            self._found = tuple(found)
            self._changed()
