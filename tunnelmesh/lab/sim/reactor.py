"""A machine of the simulation as the reactor that Twisted code is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IHostnameResolver,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.protocol import ClientFactory
from zope.interface import implementer

from tunnelmesh.lab.sim.clock import Clock, Sleeper
from tunnelmesh.lab.sim.names import Resolver
from tunnelmesh.lab.sim.sockets import Connector, Port, Sockets
from tunnelmesh.wire.endpoint import Endpoint


@implementer(IReactorTime, IReactorTCP, IReactorPluggableNameResolver)
class Reactor(Sleeper):
    """Time, TCP and names for one machine; a subclass sets :attr:`sockets`.

    :ivar clock: the simulation's clock.
    :ivar addresses: the machine's own IP addresses.
    :ivar nameResolver: answers from the names that all machines share.
    """

    #: What Twisted asks a reactor now and then (:class:`IReactorCore`).
    running = True

    sockets: Sockets

    def __init__(
        self, clock: Clock, names: dict[str, tuple[str, ...]], addresses: tuple[str, ...]
    ) -> None:
        self.clock = clock
        self.addresses = addresses
        self.nameResolver: IHostnameResolver = Resolver(self, names)

    def owns(self, host: str) -> bool:
        """Whether a socket can be bound to *host* here."""
        return host in self.addresses or host in ("", "0.0.0.0", "::") or is_loopback(host)

    def address_of(self, name: str) -> str | None:
        """A name's first address; an address is its own."""
        resolver = self.nameResolver
        assert isinstance(resolver, Resolver)
        return next(iter(resolver.lookup(name)), None)

    # IReactorTime

    def seconds(self) -> float:
        return self.clock.seconds()

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> DelayedCall:
        return self.clock.call_for(self, delay, callable, args, kwargs)

    def getDelayedCalls(self) -> list[DelayedCall]:
        return [
            call
            for call in self.clock.getDelayedCalls()
            if call.owner is self  # type: ignore[attr-defined]
        ]

    # IReactorTCP

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> Port:
        listening = Port(self.sockets, Endpoint(interface, port), factory)
        listening.startListening()
        return listening

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> Connector:
        connector = Connector(self.sockets, host, port, factory, timeout, bindAddress)
        connector.connect()
        return connector

    # IReactorPluggableNameResolver

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        previous, self.nameResolver = self.nameResolver, resolver
        return previous

    # As much of IReactorCore as programs call.

    def resolve(self, name: str, timeout: object = None) -> Deferred[str]:
        """A name's first address."""
        address = self.address_of(name)
        if address is None:
            return fail(DNSLookupError(f"no address for {name}"))
        return succeed(address)

    def callWhenRunning(self, callable: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call soon: a simulated reactor always runs."""
        self.callLater(0, callable, *args, **kwargs)

    def addSystemEventTrigger(
        self, phase: str, eventType: str, callable: Callable[..., object], *args: Any, **kwargs: Any
    ) -> object:
        """Do nothing: the simulation has no shutdown."""
        return None

    def removeSystemEventTrigger(self, triggerID: object) -> None:
        """Do nothing."""


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine itself."""
    return host.startswith("127.") or host == "::1"
