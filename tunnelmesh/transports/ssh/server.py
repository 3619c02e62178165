"""The coordinator's end of the SSH tunnel: members sign in with their keys, and get one channel.

Nothing else is possible on this port: no password, shell, command, subsystem, forward or agent.
"""

# conch is mostly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh import transport as conch
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.service import SSHService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from tunnelmesh.identity import verify
from tunnelmesh.interfaces import ILinkUser
from tunnelmesh.transports.ssh import signin
from tunnelmesh.transports.ssh.algorithms import key_from_blob
from tunnelmesh.transports.ssh.channel import FramesChannel
from tunnelmesh.transports.ssh.connection import FramesConnection
from tunnelmesh.transports.ssh.transport import FramesTransport, quiet
from tunnelmesh.transports.strangers import Strangers

MAX_ATTEMPTS = 6
"""Sign-in requests in a connection, as in OpenSSH; a peer needs one."""

MAX_EARLY = 8
"""Messages kept that arrive while a key is looked up; a peer sends one, its channel's opening."""

IsMember = Callable[[bytes], bool | Awaitable[bool]]


class MemberSignIn(SSHService):
    """The server's side of sign-in (RFC 4252): public keys of members, nothing else.

    RFC 4252 §5.1 lets a client send the messages of the next service without waiting for the
    answer; ours does, to save a round trip.
    """

    name = signin.USERAUTH
    _log = quiet
    _own_log = Logger()
    transport: ServerTransport
    protocolMessages = {signin.REQUEST: "MSG_USERAUTH_REQUEST"}

    def __init__(self) -> None:
        self._attempts = 0
        self._early: list[tuple[int, bytes]] | None = None

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        """Take one message, or keep it while a key is being looked up."""
        if self._early is None:
            super().packetReceived(messageNum, packet)
        elif len(self._early) < MAX_EARLY:
            self._early.append((messageNum, packet))
        else:
            self.transport.end("too many messages before sign-in")

    def ssh_USERAUTH_REQUEST(self, packet: bytes) -> None:
        """A stranger asks to be let in."""
        self._attempts += 1
        if self._attempts > MAX_ATTEMPTS:
            self.transport.sendDisconnect(
                conch.DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE, b"too many attempts to sign in"
            )
            return
        self._early = []
        Deferred.fromCoroutine(self._decide(packet)).addErrback(self._undecided)

    async def _decide(self, packet: bytes) -> None:
        user, service, method, rest = getNS(packet, 3)
        key = None
        if method == b"publickey" and service == signin.CONNECTION:
            algorithm, blob, signature = getNS(rest[1:], 2)
            if algorithm == b"ssh-ed25519":
                key = key_from_blob(blob)
        if key is None or not await self._is_member(key):
            self._answer(signin.FAILURE, NS(b"publickey") + b"\0")
        elif rest[0] == 0:
            # The client asks whether it is worth signing.
            self._answer(signin.PK_OK, NS(algorithm) + NS(blob))
        elif not verify(
            key,
            signin.signature_from_blob(getNS(signature)[0]),
            signin.signed_data(self.transport.sessionID or b"", user, key),
        ):
            self._answer(signin.FAILURE, NS(b"publickey") + b"\0")
        else:
            self._welcome(key)

    def _undecided(self, failure: Failure) -> None:
        self.transport.broken(failure.value)

    async def _is_member(self, key: bytes) -> bool:
        try:
            known = self.transport.factory.is_member(key)
            return await known if isawaitable(known) else known
        except Exception:
            self._own_log.failure("cannot look up the key of an SSH client: refused")
            return False

    def _answer(self, message: int, payload: bytes) -> None:
        if message == signin.FAILURE:
            self.transport.factory.counts["refused"] += 1
        self.transport.sendPacket(message, payload)
        self._replay()

    def _welcome(self, key: bytes) -> None:
        if self.transport.ended:
            return
        self.transport.key = key
        self.transport.sendPacket(signin.SUCCESS, b"")
        self.transport.setService(FramesConnection(self.transport.factory.make_user()))
        self._replay()

    def _replay(self) -> None:
        """Act on what arrived while the key was looked up."""
        early, self._early = self._early, None
        for number, payload in early or ():
            self.transport.dispatchMessage(number, payload)


class ServerTransport(FramesTransport, conch.SSHServerTransport):
    """One connection from a peer, or from a stranger."""

    factory: SSHTunnelFactory  # type: ignore[assignment]  # conch's own brings cred in

    def opened(self, channel: FramesChannel) -> None:
        """Signed in, and the channel is open: not a stranger any more."""
        super().opened(channel)
        self.factory.settled(self)
        self.factory.counts["opened"] += 1

    def connectionLost(self, reason: Failure | None = None) -> None:
        """TCP is gone."""
        self.factory.settled(self)
        super().connectionLost(reason)


class SSHTunnelFactory(Factory[Any]):
    """Makes the server's connections, and keeps strangers few.

    :param reactor: the clock.
    :param host_key: the coordinator's key.
    :param is_member: whether a 32-byte Ed25519 public key belongs to a member.
    :param make_user: makes the user of each link that opens.
    """

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        host_key: Ed25519PrivateKey,
        is_member: IsMember,
        make_user: Callable[[], ILinkUser],
    ) -> None:
        self.reactor = reactor
        self.is_member = is_member
        self.make_user = make_user
        key = Key(host_key)
        # Under these names conch's transport looks for its host key.
        self.privateKeys = {b"ssh-ed25519": key}
        self.publicKeys = {b"ssh-ed25519": key.public()}
        self.counts: Counter[str] = Counter()
        """What happened, for status: "opened", "refused", "turned away"."""
        self._strangers = Strangers()

    def buildProtocol(self, addr: IAddress | None) -> ServerTransport | None:
        """Take a connection, unless too many strangers are connected already."""
        if not self._strangers.admits(addr):
            self.counts["turned away"] += 1
            return None
        transport = ServerTransport(self.reactor)
        transport.factory = self
        self._strangers.add(transport, addr)
        return transport

    def settled(self, transport: ServerTransport) -> None:
        """*transport* has signed in, or is gone."""
        self._strangers.settled(transport)

    def getService(self, transport: ServerTransport, service: bytes) -> type[SSHService] | None:
        """For conch: what a client may ask for, which is to sign in, once."""
        return MemberSignIn if service == signin.USERAUTH and transport.service is None else None


def make_ssh_factory(
    reactor: IReactorTime,
    host_key: Ed25519PrivateKey,
    is_member: IsMember,
    make_user: Callable[[], ILinkUser],
) -> SSHTunnelFactory:
    """The server of the SSH tunnel, to listen with.

    :param reactor: the clock.
    :param host_key: the coordinator's key, which peers pin.
    :param is_member: whether a 32-byte Ed25519 public key belongs to a member; may be a coroutine
        function, or return a Deferred.
    :param make_user: called for each member that signs in; what it returns hears ``link_opened``
        with ``link.key`` known.
    """
    return SSHTunnelFactory(reactor, host_key, is_member, make_user)
