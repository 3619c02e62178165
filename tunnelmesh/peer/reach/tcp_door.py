"""One TCP port through which peers come, and who has come but not shown who it is."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IConnector, IDelayedCall, IListeningPort
from twisted.internet.protocol import ClientFactory, Factory
from twisted.logger import Logger

from tunnelmesh.errors import ListenError
from tunnelmesh.transports.tcp import TcpPath
from tunnelmesh.transports.tcp_port import TcpPort
from tunnelmesh.wire.endpoint import Endpoint

STRANGER_SECONDS = 3.0
"""Seconds in which a connection has to bring a probe that answers ours: some round trips."""

STRANGER_DATAGRAMS = 8
"""Datagrams taken until then: a ping and a pong are due."""

STRANGERS = 8
"""Connections at a time of which nobody knows whose they are."""

CONNECT_SECONDS = 4.0
"""Seconds for a connection to come about: an attempt's."""

_log = Logger()


class TcpDoor(Factory[TcpPath]):
    """A local port; open only while peers are expected, and only to the hosts where they are.

    :param received: takes datagrams of anybody, as from the UDP socket.

    :ivar turned_away: connections that were not expected, or too many.
    :ivar misled: connections that were closed because they brought nothing authentic.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        port: TcpPort,
        received: Callable[[Sequence[bytes], TcpPath], None],
    ) -> None:
        self.turned_away = 0
        self.misled = 0
        self._reactor = reactor
        self._port = port
        self._received = received
        self._expected: Counter[str] = Counter()
        self._listening: IListeningPort | None = None
        self._strangers: dict[TcpPath, IDelayedCall] = {}
        self._left: dict[TcpPath, int] = {}

    def expect(self, host: str) -> None:
        """A peer may come from there; :meth:`unexpect` has to follow."""
        self._expected[host] += 1
        if self._listening is None:
            try:
                self._listening = self._port.listen(self)
            except ListenError as error:
                _log.info("no TCP connections are taken: {error}", error=error)

    def unexpect(self, host: str) -> None:
        """Not any more, for all that one caller knows."""
        self._expected[host] -= 1
        self._expected += Counter()
        if not self._expected and self._listening is not None:
            listening, self._listening = self._listening, None
            listening.stopListening()

    def connect(self, remote: Endpoint, factory: ClientFactory[TcpPath]) -> IConnector:
        """Open a connection from the port."""
        return self._port.connect(remote, factory, CONNECT_SECONDS)

    def close(self) -> None:
        """Let nobody in any more. Who is in stays."""
        for path in list(self._strangers):
            path.stopProducing()
        self._expected.clear()
        if self._listening is not None:
            self._listening.stopListening()
            self._listening = None
        self._port.close()

    def settled(self, path: TcpPath) -> None:
        """A connection has shown whose it is, or is gone."""
        ends = self._strangers.pop(path, None)
        self._left.pop(path, None)
        if ends is not None and ends.active():
            ends.cancel()

    # The listening port's factory.

    def buildProtocol(self, addr: Any) -> TcpPath | None:
        """Take a connection, if one is expected from there."""
        if addr.host in self._expected and len(self._strangers) < STRANGERS:
            return TcpPath(self)
        self.turned_away += 1
        return None

    # TcpPathUser, of strangers.

    def path_opened(self, path: TcpPath) -> None:
        """It has a moment to show whose it is."""
        self._left[path] = STRANGER_DATAGRAMS
        self._strangers[path] = self._reactor.callLater(STRANGER_SECONDS, self._mislead, path)

    def datagrams_received(self, datagrams: Sequence[bytes], path: TcpPath) -> None:
        """A probe, if all is well; who answers ours is trusted from then on."""
        self._left[path] -= len(datagrams)
        if self._left[path] < 0:
            self._mislead(path)
        else:
            self._received(datagrams, path)
            if path.is_trusted:
                self.settled(path)

    def path_lost(self, path: TcpPath) -> None:
        """It is gone."""
        self.settled(path)

    def _mislead(self, path: TcpPath) -> None:
        self.misled += 1
        path.stopProducing()
