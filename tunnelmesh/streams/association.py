"""What two peers have between them for streams: a QUIC connection that each opened to the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tunnelmesh.noise.load import TokenBucket
from tunnelmesh.wire.control import STREAM_HEADER_SIZE as HEADER_SIZE
from tunnelmesh.wire.control import Stream

if TYPE_CHECKING:
    from tunnelmesh.streams.connection import Connection
    from tunnelmesh.streams.transport import StreamTransport

CONNECTIONS = 5.0
"""Connections that a remote peer may open in a second, and at once: each takes a signature."""

_LONG = 0x80
_INITIAL = b"\xc0\x00\x00\x00\x01"
"""How the first packet of a connection begins, but for its lowest four bits (RFC 9000, 17.2.2)."""

_UNKNOWN = b"\0"
"""Before a connection ID: I have no such connection. A packet of QUIC's has 64 in its first byte
(RFC 9000, 17.2 and 17.3.1)."""

_ID_SIZE = 8
"""Bytes of every connection ID here."""


class Association:
    """Streams to and from one remote peer.

    :param send: takes control messages for it.
    :param room: gives bytes of the longest message that goes as a whole, and in parts.
    :param incoming: told of each stream that it opens.
    """

    def __init__(
        self,
        reactor: Any,
        send: Callable[[Sequence[bytes]], object],
        room: Callable[[], tuple[int, int]],
        incoming: Callable[[StreamTransport], None],
    ) -> None:
        self._reactor = reactor
        self._send = send
        self._room = room
        self._incoming = incoming
        self._ours: Connection | None = None
        self._theirs: Connection | None = None
        self._new = TokenBucket(CONNECTIONS, CONNECTIONS)

    def open(self, first: bytes) -> StreamTransport:
        """Open a stream.

        :param first: what it begins with.
        """
        if self._ours is None:
            self._ours = self._connection(None)
        return self._ours.open(first)

    @property
    def streams(self) -> int:
        """How many streams are open."""
        both = (self._ours, self._theirs)
        return sum(len(each.streams) for each in both if each is not None)

    def received(self, message: Stream) -> None:
        """A message arrived from the remote peer."""
        datagram = message.datagram
        if datagram[:1] == _UNKNOWN:
            self._unknown(message.by_opener, datagram[1:])
            return
        identifier = _destination(datagram)
        connection = self._theirs if message.by_opener else self._ours
        if connection is None or not connection.quic.knows(identifier):
            if not (message.by_opener and _begins(datagram)):
                if identifier:
                    self._send([Stream(not message.by_opener, _UNKNOWN + identifier).encode()])
                return
            if not self._new.take(self._reactor.seconds()):
                return
            if connection is not None:
                connection.drop("the other side began anew")
            connection = self._theirs = self._connection(identifier)
        connection.received(datagram)

    def close(self, reason: str) -> None:
        """End all streams, and tell the remote peer."""
        for connection in (self._ours, self._theirs):
            if connection is not None:
                connection.close(reason)

    def drop(self, reason: str) -> None:
        """End all streams; the remote peer is none any more."""
        for connection in (self._ours, self._theirs):
            if connection is not None:
                connection.drop(reason)

    def _connection(self, destination: bytes | None) -> Connection:
        # Imported only when used: aioquic takes a quarter of a second, and some megabytes.
        from tunnelmesh.streams.connection import Connection

        opener = destination is None

        def send(datagrams: Sequence[bytes]) -> None:
            self._send([Stream(opener, datagram).encode() for datagram in datagrams])

        def room() -> tuple[int, int]:
            single, parts = self._room()
            return single - HEADER_SIZE, parts - HEADER_SIZE

        return Connection(
            self._reactor, opener, send, room, self._incoming, self._lost, destination
        )

    def _lost(self, connection: Connection) -> None:
        if connection is self._ours:
            self._ours = None
        elif connection is self._theirs:
            self._theirs = None

    def _unknown(self, by_opener: bool, identifier: bytes) -> None:
        """The remote peer does not know a connection, most likely because it was started anew."""
        connection = self._theirs if by_opener else self._ours
        if connection is not None and connection.quic.sends_to(identifier):
            connection.drop("the other side was started anew")


def _begins(datagram: bytes) -> bool:
    """Whether a datagram is the first of a connection."""
    return len(datagram) > 5 and bytes((datagram[0] & 0xF0,)) + datagram[1:5] == _INITIAL


def _destination(datagram: bytes) -> bytes:
    """The connection ID that a datagram is for; empty if there is none in it."""
    if not datagram:
        return b""
    if datagram[0] & _LONG:
        start = 6 if datagram[5:6] == bytes((_ID_SIZE,)) else len(datagram)
    else:
        start = 1
    identifier = datagram[start : start + _ID_SIZE]
    return identifier if len(identifier) == _ID_SIZE else b""
