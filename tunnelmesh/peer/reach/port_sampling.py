"""Looks at how the NAT chooses ports, with sockets that are closed afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import Logger

from tunnelmesh.errors import ListenError
from tunnelmesh.interfaces import IPath
from tunnelmesh.nat.allocation import Sample
from tunnelmesh.nat.sampling import Ask, Sampled, Sampling
from tunnelmesh.peer.timer import Timer
from tunnelmesh.transports.udp import UdpTransport
from tunnelmesh.wire.endpoint import Endpoint

_log = Logger()


class PortSampling:
    """One look at a time; who asks for one while another is under way gets its result.

    :param done: called with the samples, in the order in which the mappings were made.
    """

    def __init__(
        self,
        reactor: Any,
        entropy: Callable[[int], bytes],
        done: Callable[[Sequence[Sample]], None],
    ) -> None:
        self._reactor = reactor
        self._entropy = entropy
        self._done = done
        self._sampling: Sampling | None = None
        self._sockets: dict[int, UdpTransport] = {}
        self._timer = Timer(reactor, self._expired)

    @property
    def running(self) -> bool:
        """Whether a look is under way."""
        return self._sampling is not None

    def start(self, server: Endpoint) -> None:
        """Look.

        :param server: a STUN server.
        """
        if self._sampling is None:
            self._sampling = Sampling(server, self._entropy, self._reactor.seconds())
            self._expired()

    def stop(self) -> None:
        """Break it off."""
        self._timer.cancel()
        self._sampling = None
        sockets, self._sockets = self._sockets, {}
        for socket in sockets.values():
            socket.close()

    def received(self, socket: int, datagrams: Sequence[bytes], source: Endpoint) -> None:
        """Datagrams arrived at one of the sockets."""
        for datagram in datagrams:
            if self._sampling is not None:
                self._perform(self._sampling.receive(socket, datagram, source))

    def _expired(self) -> None:
        if self._sampling is not None:
            self._perform(self._sampling.expire(self._reactor.seconds()))

    def _perform(self, outputs: Sequence[Ask | Sampled]) -> None:
        for output in outputs:
            if isinstance(output, Ask):
                socket = self._socket(output.socket)
                if socket is not None:
                    socket.send([output.send.datagram], output.send.to)
                continue
            samples = [
                Sample(each.at, self._sockets[each.socket].local_port, each.external)
                for each in output.answers
            ]
            self.stop()
            self._done(samples)
            return
        if self._sampling is not None:
            self._timer.set(self._sampling.deadline)

    def _socket(self, number: int) -> UdpTransport | None:
        """The socket of that number, opened if it is not."""
        if number not in self._sockets:
            socket = UdpTransport(_Receiver(self, number))
            try:
                socket.open(self._reactor, 0)
            except ListenError as error:
                _log.info("ports are not looked at: {error}", error=error)
                return None
            self._sockets[number] = socket
        return self._sockets[number]


class _Receiver:
    """Receives for one of the sockets."""

    def __init__(self, sampling: PortSampling, number: int) -> None:
        self._sampling = sampling
        self._number = number

    def datagrams_received(self, datagrams: Sequence[bytes], path: IPath) -> None:
        self._sampling.received(self._number, datagrams, path.remote)

    def run_received(self, messages: memoryview, segment: int, path: IPath) -> None:
        """Nobody sends such to these sockets."""
