"""Two ends of an SSH tunnel joined in memory, with a TCP between them that can stall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IConsumer, IStreamClientEndpoint, ITransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from tunnelmesh.interfaces import ILink, ILinkUser
from tunnelmesh.transports.ssh import client as ssh_client
from tunnelmesh.transports.ssh.server import IsMember, SSHTunnelFactory, make_ssh_factory
from tunnelmesh.transports.ssh.transport import FramesTransport

SEGMENT = 65536
"""Bytes that a protocol gets at a time, as from Twisted's TCP."""

HOST_KEY = Ed25519PrivateKey.from_private_bytes(b"h" * 32)
MEMBER_KEY = Ed25519PrivateKey.from_private_bytes(b"m" * 32)
STRANGER_KEY = Ed25519PrivateKey.from_private_bytes(b"s" * 32)


def public(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of the public key."""
    return key.public_key().public_bytes_raw()


@implementer(ILinkUser)
class RecordingUser:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.link: Any = None
        self.frames: list[tuple[int, bytes]] = []
        self.events: list[str] = []
        self.lost: str | None = None

    def link_opened(self, link: ILink) -> None:
        self.link = link
        self.events.append("opened")

    def frames_received(self, link: ILink, frames: Sequence[tuple[int, bytes]]) -> None:
        self.frames.extend(frames)

    def link_paused(self, link: ILink) -> None:
        self.events.append("paused")

    def link_resumed(self, link: ILink) -> None:
        self.events.append("resumed")

    def link_lost(self, link: ILink, reason: str) -> None:
        self.lost = reason
        self.events.append("lost")


@implementer(ITransport, IConsumer)
class Pipe:
    """One end of the TCP connection.

    :param port: the other end's port, for getPeer.
    """

    def __init__(self, port: int) -> None:
        self.peer = IPv4Address("TCP", "192.0.2.1", port)
        self.protocol: Any = None
        self.buffer = bytearray()
        self.sent = bytearray()
        self.stalled = False
        self.producer: Any = None
        self.full = False
        self.disconnecting = False
        self.disconnected = False

    def write(self, data: bytes) -> None:
        if self.disconnected:
            return
        self.buffer += data
        self.sent += data
        if self.producer is not None and len(self.buffer) > SEGMENT and not self.full:
            self.full = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Sequence[bytes]) -> None:
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.buffer.clear()
        self.producer = None
        self.disconnecting = True

    def getPeer(self) -> IAddress:
        return self.peer

    def getHost(self) -> IAddress:
        return IPv4Address("TCP", "192.0.2.2", 2222)

    def take(self) -> bytes:
        """What TCP carries to the other end now."""
        if self.stalled or self.disconnected:
            return b""
        data = bytes(self.buffer[:SEGMENT])
        del self.buffer[:SEGMENT]
        if self.full and not self.buffer:
            self.full = False
            self.producer.resumeProducing()
        return data


class Pair:
    """A server's and a client's end, and the TCP connection that joins them."""

    def __init__(self, clock: Clock, server: Any, client: Any) -> None:
        self.clock = clock
        self.server = server
        self.client = client
        self.at_server = Pipe(40000)
        self.at_client = Pipe(2222)
        for pipe, protocol in ((self.at_server, server), (self.at_client, client)):
            pipe.protocol = protocol
        server.makeConnection(self.at_server)
        client.makeConnection(self.at_client)

    def pump(self) -> None:
        """Carry bytes both ways until nothing moves."""
        moved = True
        while moved:
            moved = False
            self.clock.advance(0)
            for here, there in (
                (self.at_server, self.at_client),
                (self.at_client, self.at_server),
            ):
                data = here.take()
                if data and not there.disconnecting and not there.disconnected:
                    there.protocol.dataReceived(data)
                moved = moved or bool(data)
                # As in Twisted, who has a producer is not done.
                done = here.disconnecting and not here.buffer and here.producer is None
                if done and not here.disconnected:
                    for end in (here, there):
                        if not end.disconnected:
                            end.disconnected = True
                            end.protocol.connectionLost(Failure(ConnectionDone()))
                    moved = True


class Tunnel(Pair):
    """A member and the coordinator, signed in unless something is changed on the way."""

    def __init__(
        self,
        *,
        identity: Ed25519PrivateKey = MEMBER_KEY,
        pin: Ed25519PrivateKey = HOST_KEY,
        is_member: IsMember = lambda key: key == public(MEMBER_KEY),
        server_user: Any = None,
        client_user: Any = None,
    ) -> None:
        clock = Clock()
        self.server_user = server_user or RecordingUser()
        self.client_user = client_user or RecordingUser()
        self.factory = make_ssh_factory(clock, HOST_KEY, is_member, lambda: self.server_user)
        server = self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000))
        assert server is not None
        endpoint = HeldEndpoint()
        self.opening = ssh_client.connect(
            clock, endpoint, identity, public(pin), self.client_user, proxy="proxy.example:3128"
        )
        super().__init__(clock, server, endpoint.protocol)
        endpoint.connected.callback(endpoint.protocol)
        self.pump()


@implementer(IStreamClientEndpoint)
class HeldEndpoint:
    """An endpoint that connects when the test says so."""

    def __init__(self) -> None:
        self.connected: Deferred[Any] = Deferred()
        self.protocol: Any = None

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        self.protocol = protocolFactory.buildProtocol(None)
        return self.connected


class Recorder(SSHService):
    """Keeps the messages that arrive for any service."""

    name = b"ssh-userauth"

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        self.transport.received.append((messageNum, packet))  # type: ignore[union-attr]


class Stranger(FramesTransport, SSHClientTransport):
    """A client that trusts any server and sends what the test tells it to."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.received: list[tuple[int, bytes]] = []

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[bool]:
        return succeed(True)

    def connectionSecure(self) -> None:
        if self.exchanges == 1:
            self.requestService(Recorder())


def stranger(factory: SSHTunnelFactory, clock: Clock, client: Any = None) -> Pair:
    """A stranger connected to *factory*, its keys exchanged unless *client* does otherwise."""
    server = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000))
    assert server is not None
    pair = Pair(clock, server, client or Stranger(clock))
    pair.pump()
    return pair
