"""The simulated internet's names."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorTime,
    IResolutionReceiver,
)
from zope.interface import implementer


def is_address(host: str) -> bool:
    """Whether *host* is an IP address rather than a name."""
    return isIPAddress(host) or isIPv6Address(host)


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """The answer is there before anybody can cancel."""


@implementer(IHostnameResolver)
class Resolver:
    """Answers from a dictionary that everybody shares.

    :param names: the addresses of each name.
    """

    def __init__(self, clock: IReactorTime, names: dict[str, tuple[str, ...]]) -> None:
        self._clock = clock
        self._names = names

    def lookup(self, name: str) -> tuple[str, ...]:
        """The addresses of a name (an address is its own); none where it is unknown."""
        return (name,) if is_address(name) else self._names.get(name, ())

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Answer in the next iteration."""
        resolution = _Resolution(hostName)
        self._clock.callLater(
            0, self._answer, resolutionReceiver, resolution, portNumber, transportSemantics
        )
        return resolution

    def _answer(
        self,
        receiver: IResolutionReceiver,
        resolution: _Resolution,
        port: int,
        semantics: str,
    ) -> None:
        receiver.resolutionBegan(resolution)
        for host in self.lookup(resolution.name):
            kind = IPv6Address if ":" in host else IPv4Address
            receiver.addressResolved(kind(semantics, host, port))  # type: ignore[arg-type]
        receiver.resolutionComplete()
