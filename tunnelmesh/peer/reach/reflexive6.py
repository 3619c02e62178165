"""Where the coordinator sees this machine's IPv6 socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tunnelmesh.interfaces import IPath
from tunnelmesh.nat.discovery import Mapped, MappingDiscovery, Reflexive, Send
from tunnelmesh.peer.timer import Timer
from tunnelmesh.transports.dual_stack import DualStack
from tunnelmesh.wire.endpoint import Endpoint


class Reflexive6:
    """The reflexive endpoint over IPv6.

    Usually it is one of the machine's own addresses, the one that it sends from; a prefix
    translator (RFC 6296) makes it another. That it is there at all says that UDP over IPv6 works.

    :param changed: called when it is another.

    :ivar endpoint: the last answer; None if there was none.
    """

    def __init__(
        self,
        reactor: Any,
        udp: DualStack,
        entropy: Callable[[int], bytes],
        changed: Callable[[], None],
    ) -> None:
        self.endpoint: Endpoint | None = None
        self._reactor = reactor
        self._udp = udp
        self._entropy = entropy
        self._changed = changed
        self._discovery: MappingDiscovery | None = None
        self._timer = Timer(reactor, self._expired)

    def ask(self, servers: Sequence[Endpoint]) -> None:
        """Ask these, if there are any; what was known holds until they have answered."""
        self.stop()
        if servers:
            self._discovery = MappingDiscovery(servers, self._entropy)
            self._perform(self._discovery.start(self._reactor.seconds()))
        else:
            self._know(None)

    def stun_received(self, datagrams: Sequence[bytes], path: IPath) -> None:
        """STUN messages arrived at the IPv6 socket."""
        for datagram in datagrams:
            if self._discovery is not None:
                now = self._reactor.seconds()
                self._perform(self._discovery.receive(datagram, path.remote, now))

    def stop(self) -> None:
        """Stop asking."""
        self._timer.cancel()
        self._discovery = None

    def _expired(self) -> None:
        if self._discovery is not None:
            self._perform(self._discovery.expire(self._reactor.seconds()))

    def _perform(self, outputs: Sequence[Send | Reflexive | Mapped]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                self._udp.send([output.datagram], output.to)
            elif isinstance(output, Reflexive):
                self._know(output.endpoint)
            else:
                self._discovery = None
                self._know(output.external)
        self._timer.set(None if self._discovery is None else self._discovery.deadline)

    def _know(self, endpoint: Endpoint | None) -> None:
        if endpoint != self.endpoint:
            self.endpoint = endpoint
            self._changed()
