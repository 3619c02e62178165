"""The search for a direct path over TCP to one remote peer, for want of UDP."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from tunnelmesh.nat.addresses import is_probeable
from tunnelmesh.nat.behaviour import Mapping
from tunnelmesh.nat.simultaneous_open import SimultaneousOpen
from tunnelmesh.peer.pair.surroundings import Surroundings
from tunnelmesh.peer.reach.tcp_door import TcpDoor
from tunnelmesh.peer.timer import Timer
from tunnelmesh.transports.tcp import TcpPath
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.probe import PING, ProbeSeal
from tunnelmesh.wire.signal import Describe

TRIES = 4
"""Meetings in vain after which there is little hope: the first is for finding the endpoints, and of
the others one may be lost."""

LOWEST_PORT = 1024
"""A NAT gives no lower ones to who uses higher ones (RFC 4787 REQ-3a); and no member is to make
others knock at a third party's mail server."""


class TcpPursuit:
    """Opens a connection at the moment when the remote peer does.

    :param seal: for probes between the two.
    :param lost: told when a path that was found closes.

    :ivar connects: connections begun.
    """

    def __init__(
        self, seal: ProbeSeal, around: Surroundings, lost: Callable[[TcpPath], None]
    ) -> None:
        self.connects = 0
        self._seal = seal
        self._around = around
        self._lost = lost
        self._vain = 0
        self._attempt: _Attempt | None = None
        self._pings: dict[int, tuple[TcpPath, float]] = {}

    def hopeful(self, own: Describe, them: Describe) -> bool:
        """Whether this may lead to something."""
        return needed(own, them) and self._vain < TRIES and self._around.tcp.hopeful

    def in_words(self, own: Describe, them: Describe, name: str) -> list[str]:
        """What stands in the way of a direct path over TCP, where there is one to be sought."""
        if not needed(own, them) or own.relay_only or them.relay_only:
            return []
        words = f"tried with {self.connects} connections, in vain"
        if not self._around.tcp.hopeful:
            words = "TCP from your network does not reach the coordinator's STUN ports"
        elif them.tcp is None and not self.connects:
            words = f"TCP from {name}'s network has not reached the coordinator's STUN ports"
        return [f"direct over TCP: {words}"]

    def meet(self, own: Describe, them: Describe, start: float) -> None:
        """Both sides are told to begin at *start*."""
        if not needed(own, them):
            return
        self._vain += 1
        self._around.tcp.refresh()
        door = self._around.tcp.door
        if own.tcp is None or door is None or them.tcp is None or not self._is_possible(them.tcp):
            return  # whoever has something to tell yet will ask for another meeting
        if self._attempt is None or self._attempt.is_over:
            self._attempt = _Attempt(self, self._around.reactor, door, them.tcp, start)

    def seen(self, path: TcpPath, now: float) -> None:
        """A connection is open that the remote peer may be at the other end of: ask it."""
        self._pings = {t: asked for t, asked in self._pings.items() if asked[0].is_open}
        if all(path is not asked for asked, _ in self._pings.values()):
            token = self._around.tokens()
            self._pings[token] = (path, now)
            path.write([self._seal.seal(PING, token, 0)])

    def ponged(self, token: int, path: TcpPath, now: float) -> float | None:
        """A pong came in.

        :returns: its round trip in seconds, if it answers what was asked there.
        """
        asked, at = self._pings.get(token, (None, now))
        if asked is not path:
            return None
        del self._pings[token]
        path.trust(self)
        self._vain = 0
        self.stop()
        return now - at

    def stop(self) -> None:
        """A direct path is in use, or none is wanted."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.stop()

    def _is_possible(self, endpoint: Endpoint) -> bool:
        """Whether a stranger's word may make us connect there."""
        address = ip_address(endpoint.host)
        return (
            address.version == 4
            and endpoint.port >= LOWEST_PORT
            and is_probeable(endpoint, ())
            and address not in self._around.interface.network
            and all(endpoint.host != avoided.host for avoided in self._around.avoid())
        )

    # TcpPathUser, of the paths that were found.

    def path_opened(self, path: TcpPath) -> None:
        """It was, before it was found."""

    def datagrams_received(self, datagrams: Sequence[bytes], path: TcpPath) -> None:
        """The tunnel's, or probes."""
        self._around.received(datagrams, path)

    def path_lost(self, path: TcpPath) -> None:
        """It has closed."""
        self._lost(path)


class _Attempt(ClientFactory[TcpPath]):
    """One attempt: a door that is open for a moment, and connections that leave by it."""

    noisy = False

    def __init__(
        self, pursuit: TcpPursuit, reactor: Any, door: TcpDoor, remote: Endpoint, start: float
    ) -> None:
        self._pursuit = pursuit
        self._reactor = reactor
        self._door = door
        self._remote = remote
        self._connector: Any = None
        self._machine = SimultaneousOpen(start)
        self._timer = Timer(reactor, self._expired)
        self._timer.set(self._machine.deadline)
        door.expect(remote.host)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._machine.deadline is None

    def stop(self) -> None:
        """It is over, one way or the other."""
        if not self.is_over:
            self._machine.stop()
            self._end()

    def _end(self) -> None:
        self._timer.cancel()
        self._door.unexpect(self._remote.host)
        if self._connector is not None and self._connector.state == "connecting":
            self._connector.stopConnecting()

    def _expired(self) -> None:
        if self._machine.expire(float(self._reactor.seconds())):
            self._pursuit.connects += 1
            self._connector = self._door.connect(self._remote, self)
        if self.is_over:
            self._end()
        else:
            self._timer.set(self._machine.deadline)

    # The connections' factory.

    def buildProtocol(self, addr: object) -> TcpPath:
        """The remote peer has answered, or whoever is there."""
        return TcpPath(self)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """Nobody has, or somebody did not want to."""
        self._machine.failed()

    # TcpPathUser, of the connections that were opened.

    def path_opened(self, path: TcpPath) -> None:
        """See who is there."""
        self._door.path_opened(path)
        self._pursuit.seen(path, float(self._reactor.seconds()))

    def datagrams_received(self, datagrams: Sequence[bytes], path: TcpPath) -> None:
        """See :class:`~tunnelmesh.peer.reach.tcp_door.TcpDoor`."""
        self._door.datagrams_received(datagrams, path)

    def path_lost(self, path: TcpPath) -> None:
        """It was nobody."""
        self._door.path_lost(path)
        self._machine.failed()


def needed(own: Describe, them: Describe) -> bool:
    """Whether TCP is the only direct way that there might be."""
    return Mapping.BLOCKED in (own.mapping, them.mapping)
