"""The far side of a tunnel device: a small TCP/IP stack in place of the machine's kernel."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError

from tunnelmesh.errors import DecodeError
from tunnelmesh.lab.sim.ip import (
    ECHO_REPLY,
    ECHO_REQUEST,
    ICMP,
    IP_HEADER,
    TCP,
    TCP_HEADER,
    Echo,
    IPPacket,
    decode_echo,
    decode_ip,
    decode_tcp,
    encode_echo,
    encode_ip,
    encode_tcp,
)
from tunnelmesh.lab.sim.reactor import Reactor
from tunnelmesh.lab.sim.segment import Segment
from tunnelmesh.lab.sim.sockets import Sockets
from tunnelmesh.lab.sim.tunnel import TunnelDevice
from tunnelmesh.wire.endpoint import Endpoint

#: The largest window that a TCP header holds without scaling.
WINDOW = 0xFFFF

#: Data bytes of an echo, as ``ping`` sends.
ECHO_SIZE = 56


class InnerHost(Reactor):
    """A machine as the mesh sees it: one IPv4 address, all of whose packets use the tunnel.

    It answers echoes and has TCP, over packets that are bytes like the kernel's; programs inside
    the mesh take it as their reactor.

    :param address: its mesh address.

    :ivar names: the addresses of names inside the mesh.
    :ivar dropped: packets that came out of the tunnel damaged or for somebody else.
    """

    def __init__(self, device: TunnelDevice, address: str) -> None:
        self.names: dict[str, tuple[str, ...]] = {}
        super().__init__(device.host.clock, self.names, (address,))
        self._random = device.host.world.random_for(f"inner {device.host.name} {address}")
        self.sockets = Sockets(
            self,
            self._send_segment,
            lambda destination: address,
            self._random,
            device.mtu - IP_HEADER - TCP_HEADER,
            WINDOW,
        )
        self.dropped = 0
        self._pings: dict[tuple[int, int], Deferred[float]] = {}
        self._leaving: list[bytes] = []
        self.plug(device)

    @property
    def address(self) -> str:
        """Its mesh address."""
        return self.addresses[0]

    def plug(self, device: TunnelDevice) -> None:
        """Use another device: the peer's program was started again."""
        self._device = device
        device.kernel = self._arrived

    def ping(self, address: str, size: int = ECHO_SIZE, timeout: float = 5.0) -> Deferred[float]:
        """Send one echo.

        :param size: data bytes.
        :returns: the round trip in seconds.
        :raises TimeoutError: if no reply comes within *timeout* seconds.
        """
        key = (self._random.getrandbits(16), self._random.getrandbits(16))
        sent = self.seconds()

        def forget(_: object) -> None:
            self._pings.pop(key, None)
            answer.errback(
                TimeoutError(f"{address} did not answer")  # type: ignore[no-untyped-call]
            )

        answer: Deferred[float] = Deferred(forget)
        self._pings[key] = answer
        limit = self.callLater(timeout, answer.cancel)

        def answered(_: float) -> float:
            limit.cancel()
            return self.seconds() - sent

        answer.addCallback(answered)
        data = self._random.randbytes(size)
        self._send(
            IPPacket(self.address, address, ICMP, encode_echo(Echo(ECHO_REQUEST, *key, data)))
        )
        return answer

    def _send_segment(self, source: Endpoint, destination: Endpoint, segment: Segment) -> None:
        self._send(encode_tcp(source, destination, segment))

    def _send(self, packet: IPPacket) -> None:
        """Send a packet together with the others of this instant."""
        if packet.destination == self.address:
            self.clock.at(self.seconds(), self._arrived, [encode_ip(packet)])
            return
        if not self._leaving:
            self.clock.at(self.seconds(), self._leave)
        self._leaving.append(encode_ip(packet))

    def _leave(self) -> None:
        packets, self._leaving = self._leaving, []
        self._device.leave(packets)

    def _arrived(self, packets: Sequence[bytes]) -> None:
        for data in packets:
            try:
                self._receive(decode_ip(data))
            except DecodeError:
                self.dropped += 1

    def _receive(self, packet: IPPacket) -> None:
        if packet.destination != self.address:
            raise DecodeError("for somebody else")
        if packet.protocol == TCP:
            source, destination, segment = decode_tcp(packet)
            self.sockets.receive(
                Endpoint(packet.source, source), Endpoint(self.address, destination), segment
            )
        elif packet.protocol == ICMP:
            self._receive_echo(packet.source, decode_echo(packet.payload))
        else:
            raise DecodeError("neither TCP nor ICMP")

    def _receive_echo(self, source: str, echo: Echo) -> None:
        if echo.kind == ECHO_REQUEST:
            reply = echo._replace(kind=ECHO_REPLY)
            self._send(IPPacket(self.address, source, ICMP, encode_echo(reply)))
            return
        answer = self._pings.pop((echo.identifier, echo.sequence), None)
        if answer is not None:
            answer.callback(0.0)
