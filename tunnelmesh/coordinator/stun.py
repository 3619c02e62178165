"""The coordinator's STUN server (RFC 8489), with NAT behaviour discovery (RFC 5780).

It listens on two ports. Given a second address it does so on both, tells clients of the other ones
and answers from where a CHANGE-REQUEST wants it. With one address it must not claim to have another
(RFC 5780 §6); it still answers from the other port, which is enough to tell a port-restricted NAT.

It listens on TCP as well, on the same ports, if they are to be had: for who has no UDP.

It keeps no state but its limits, and is of no use to who wants to amplify
(:func:`tunnelmesh.coordinator.stun_answer.answer`).
"""

from __future__ import annotations

import socket
from collections.abc import Hashable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from tunnelmesh.coordinator.buckets import TokenBuckets
from tunnelmesh.coordinator.stun_answer import answer
from tunnelmesh.coordinator.stun_tcp import StunFactory
from tunnelmesh.errors import DecodeError, ListenError
from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.stun import Class, Message

MAX_REQUEST = 548
"""Longest request looked at, in bytes: what passes every IPv4 path whole (RFC 8489 §6.1)."""

SOURCE_BURST = 1000
"""Requests that one network may send at once: an office of some 50 peers that all wake up."""

SOURCE_INTERVAL = 1 / 200
"""Seconds per further request from one network. Were its address forged, its owner would receive
at most 15 kB/s."""

SOURCES = 10_000
"""Networks remembered, about 2 MB."""

TOTAL_BURST = 5_000
"""Requests answered at once, from all networks together."""

TOTAL_INTERVAL = 1 / 5_000
"""Seconds per further request from all networks together: a third of what a slow core answers, so
that a flood leaves time for the links."""

READ_AT_ONCE = 4096
"""Bytes read from a socket before others get their turn: some 150 requests, or 10 ms. Twisted's own
256 KiB would be 9,000 requests, and half a second."""


@dataclass
class Counters:
    """What became of the datagrams.

    :ivar answered: answered with success.
    :ivar refused: answered with an error.
    :ivar malformed: not STUN, or broken, or too long.
    :ivar ignored: STUN that is no Binding request.
    :ivar limited: dropped because too many came.
    :ivar unsent: the kernel would not send the answer.
    """

    answered: int = 0
    refused: int = 0
    malformed: int = 0
    ignored: int = 0
    limited: int = 0
    unsent: int = 0


class StunServer(Service):
    """Answers Binding requests.

    :param reactor: provides IReactorUDP and IReactorTime.
    :param address: IPv4 or IPv6 address to listen on; the unspecified one (``0.0.0.0``, or ``::``
        for both families) is as good where there is no second address.
    :param port: first port; the next one is the second. 0: any two.
    :param alternate_address: second address of this machine, of the same family.
    :ivar counters: what became of the datagrams.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, address: str, port: int, alternate_address: str | None = None
    ) -> None:
        self._reactor = reactor
        self._address = address
        self._port = port
        self._alternate = alternate_address
        self._listeners: dict[Endpoint, _Listener] = {}
        self._tcp: list[IListeningPort] = []
        self._sources = TokenBuckets(SOURCE_BURST, SOURCE_INTERVAL, SOURCES)
        self._total = TokenBuckets(TOTAL_BURST, TOTAL_INTERVAL, 1)
        self.counters = Counters()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where it listens, the primary endpoint first."""
        return tuple(self._listeners)

    def startService(self) -> None:
        """Listen.

        :raises ListenError: if an address or a port cannot be had; nothing is left open then.
        """
        hosts = self._hosts()
        try:
            first = self._listen(hosts[0], self._port)
            second = self._listen(hosts[0], self._port and self._port + 1)
            for host in hosts[1:]:
                self._listen(host, first.port)
                self._listen(host, second.port)
        except ListenError:
            self._close()
            raise
        for endpoint, listener in self._listeners.items():
            listener.local = endpoint
            listener.other = Endpoint(
                hosts[-1] if endpoint.host == hosts[0] else hosts[0],
                second.port if endpoint.port == first.port else first.port,
            )
        self._listen_tcp()
        super().startService()  # type: ignore[no-untyped-call]
        self._log.info("STUN server on {endpoints}", endpoints=", ".join(map(str, self.endpoints)))

    def stopService(self) -> Deferred[Any]:
        """Stop listening."""
        super().stopService()  # type: ignore[no-untyped-call]
        return self._close()

    def _hosts(self) -> list[str]:
        """The address, and the alternate one if the two can serve as a pair."""
        addresses = []
        for each in (self._address, self._alternate):
            if each is not None:
                try:
                    addresses.append(ip_address(each))
                except ValueError:
                    raise ListenError(f"STUN: {each!r} is not an IP address") from None
        if len(addresses) == 2 and (
            addresses[0] == addresses[1]
            or addresses[0].version != addresses[1].version
            or any(each.is_unspecified for each in addresses)
        ):
            raise ListenError(
                f"STUN needs two different addresses of this machine, both IPv4 or both IPv6, "
                f"for an alternate address: {self._address} and {self._alternate} are not"
            )
        return [str(each) for each in addresses]

    def _listen(self, host: str, port: int) -> Endpoint:
        listener = _Listener(self)
        try:
            listener.port = self._reactor.listenUDP(port, listener, interface=host)
        except (CannotListenError, OverflowError) as error:
            reason = getattr(error, "socketError", error)
            raise ListenError(
                f"STUN cannot listen on UDP {Endpoint(host, port)} ({reason}): "
                f"stop what uses it, or choose another --stun-port or address"
            ) from error
        cast(Any, listener.port).maxThroughput = READ_AT_ONCE
        endpoint = Endpoint(host, cast(IPv4Address | IPv6Address, listener.port.getHost()).port)
        self._listeners[endpoint] = listener
        return endpoint

    def _listen_tcp(self) -> None:
        factory = StunFactory(self._reactor, self._received_by_tcp)
        for endpoint in self._listeners:
            try:
                port = self._reactor.listenTCP(endpoint.port, factory, interface=endpoint.host)
            except CannotListenError as error:
                self._log.warn(
                    "no STUN on TCP {endpoint} ({reason}): peers without UDP stay relayed",
                    endpoint=endpoint,
                    reason=error.socketError,
                )
            else:
                self._tcp.append(port)

    def _close(self) -> Deferred[Any]:
        listeners, self._listeners = self._listeners, {}
        tcp, self._tcp = self._tcp, []
        closing = [listener.port.stopListening() for listener in listeners.values()]
        closing += [port.stopListening() for port in tcp]
        return gatherResults([each for each in closing if each is not None])

    def received(self, datagram: bytes, addr: tuple[str, int], listener: _Listener) -> None:
        """Answer a datagram, count it, or both."""
        answered = self._answer(datagram, _plain(addr), listener.local, listener.other)
        if answered is None:
            return
        message, origin = answered
        if self._listeners[origin].send(stun.encode(message), addr):
            self._count(message)
        else:
            self.counters.unsent += 1

    def _received_by_tcp(self, message: bytes, source: Endpoint, local: Endpoint) -> bytes | None:
        """Answer a message on the connection that it came by: no other endpoint can."""
        answered = self._answer(message, source, local, local)
        if answered is None:
            return None
        self._count(answered[0])
        return stun.encode(answered[0])

    def _answer(
        self, datagram: bytes, source: Endpoint, local: Endpoint, other: Endpoint
    ) -> tuple[Message, Endpoint] | None:
        now = self._reactor.seconds()
        if not self._sources.take(_network(source.host), now) or not self._total.take(None, now):
            self.counters.limited += 1
            return None
        try:
            answered = answer(_read(datagram), source, local, other)
        except DecodeError:
            self.counters.malformed += 1
            return None
        if answered is None:
            self.counters.ignored += 1
        return answered

    def _count(self, message: Message) -> None:
        if message.kind is Class.SUCCESS:
            self.counters.answered += 1
        else:
            self.counters.refused += 1


class _Listener(DatagramProtocol):
    """One of the server's sockets."""

    port: IListeningPort
    local: Endpoint
    other: Endpoint

    def __init__(self, server: StunServer) -> None:
        self._server = server

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self._server.received(datagram, addr, self)

    def send(self, datagram: bytes, addr: tuple[str, int]) -> bool:
        """Whether the kernel takes *datagram*.

        It does not where there is no route, where a firewall says no, and for a forged port 0.
        """
        try:
            cast(IUDPTransport, self.transport).write(datagram, addr)
        except OSError:
            return False
        return True


def _read(datagram: bytes) -> Message:
    if len(datagram) > MAX_REQUEST:
        raise DecodeError("STUN request is too long")
    return stun.decode(datagram)


def _plain(addr: tuple[str, int]) -> Endpoint:
    """*addr* as its owner knows it: a socket for both families shows IPv4 inside IPv6."""
    host, port = addr
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return Endpoint(host.partition("%")[0], port)


def _network(host: str) -> Hashable:
    """The /24 or /56 that *host* is in: as many addresses as one customer commonly has."""
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host)[:7]
    return host.rpartition(".")[0]
