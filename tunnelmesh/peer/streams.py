"""Streams to and from all remote peers of this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from zope.interface import implementer

from tunnelmesh.errors import OfflineError
from tunnelmesh.interfaces import IStreams
from tunnelmesh.peer.answers.absence import gone_since
from tunnelmesh.peer.members import Members
from tunnelmesh.peer.pair.remote import Remote
from tunnelmesh.streams.answering import CONNECT, Answering
from tunnelmesh.streams.association import Association
from tunnelmesh.streams.endpoint import StreamEndpoint
from tunnelmesh.wire.control import Stream

if TYPE_CHECKING:
    from tunnelmesh.streams.transport import StreamTransport


@implementer(IStreams)
class Streams:
    """Opens streams to members, and answers theirs.

    :param exposed: ports that are open to the mesh, with the host and port that each leads to.
    :param unix_time: the time, for saying since when somebody is gone.

    :ivar allowed: whether a remote peer may connect to a port of this machine.
    :ivar counts: streams so far: ``opened``, ``answered`` and ``refused`` ones.
    """

    def __init__(
        self,
        reactor: Any,
        members: Members,
        exposed: tuple[tuple[int, str, int], ...],
        unix_time: Callable[[], float],
    ) -> None:
        self.allowed: Callable[[Remote, int], bool] = lambda remote, port: True
        self.counts: Counter[str] = Counter()
        self._reactor = reactor
        self._members = members
        self._exposed = {port: (host, target) for port, host, target in exposed}
        self._unix_time = unix_time
        self._inside: tuple[Any, str] | None = None

    def serve(self, inside: Any, address: str) -> None:
        """Open every port to the mesh, as it is by packets: this machine has a device.

        :param inside: the reactor whose sockets can have the mesh address.
        :param address: that.
        """
        self._inside = inside, address

    def endpoint(self, host: str, port: int, first: bytes = b"") -> StreamEndpoint:
        """See :class:`.IStreams`.

        :param first: bytes for the service, sent before this side knows that it is there.
        """
        return StreamEndpoint(self._reactor, partial(self._open, host, port), port, first)

    def received(self, remote: Remote, message: Stream) -> None:
        """A message of a remote peer's streams arrived."""
        self._association(remote).received(message)

    def close(self) -> None:
        """End all streams."""
        for remote in self._members:
            if remote.streams is not None:
                remote.streams.close("the peer is stopped")

    def _open(self, host: str, port: int, first: bytes) -> tuple[str, StreamTransport]:
        remote = self._members.find(host)
        if not remote.online and remote.path_kind is None:
            gone = gone_since(remote, self._unix_time())
            raise OfflineError(f"{remote.name} is offline ({gone})")
        from tunnelmesh.streams.transport import StreamAddress

        transport = self._association(remote).open(first)
        transport.peer = StreamAddress(remote.name, port)
        self.counts["opened"] += 1
        return remote.name, transport

    def _association(self, remote: Remote) -> Association:
        if remote.streams is None:
            answering = Answering(
                self._reactor, self._target, partial(self._allows, remote), self.counts
            )
            remote.streams = Association(
                self._reactor, remote.send_long, remote.room, answering.incoming
            )
        return remote.streams

    def _allows(self, remote: Remote, port: int) -> bool:
        return self.allowed(remote, port)

    def _target(self, port: int) -> IStreamClientEndpoint | None:
        """Where a port of this machine leads."""
        if port in self._exposed:
            return _tcp(self._reactor, *self._exposed[port])
        if self._inside is not None:
            return _tcp(*self._inside, port)
        return None


def _tcp(reactor: Any, host: str, port: int) -> IStreamClientEndpoint:
    try:
        version = ip_address(host).version
    except ValueError:
        return HostnameEndpoint(reactor, host, port, timeout=CONNECT)
    plain = TCP4ClientEndpoint if version == 4 else TCP6ClientEndpoint
    return plain(reactor, host, port, timeout=CONNECT)
