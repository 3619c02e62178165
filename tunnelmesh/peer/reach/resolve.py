"""A host's IP addresses, by the reactor's own resolver."""

from __future__ import annotations

import ipaddress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from zope.interface import implementer


async def addresses_of(reactor: Any, host: str) -> list[str]:
    """The addresses of a name, of both families; none if it has none. An address is its own.

    :raises CancelledError: if the Deferred that this is made into is cancelled.
    """
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        answer = _Answer()
        reactor.nameResolver.resolveHostName(answer, host)
        return await answer.complete


@implementer(IResolutionReceiver)
class _Answer:
    def __init__(self) -> None:
        self.complete: Deferred[list[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """The question was asked."""

    def addressResolved(self, address: IAddress) -> None:
        """One more address."""
        self._found.append(str(ipaddress.ip_address(address.host)))  # type: ignore[attr-defined]

    def resolutionComplete(self) -> None:
        """There are no more. Who asked may have gone meanwhile."""
        if not self.complete.called:
            self.complete.callback(self._found)
