"""A peer's end of the SSH tunnel: check the coordinator's key, sign in, open the channel."""

# conch is mostly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh import transport as conch
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.service import SSHService
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from tunnelmesh.errors import LinkError, TrustError, TunnelMeshError
from tunnelmesh.identity import fingerprint
from tunnelmesh.interfaces import ILink, ILinkUser
from tunnelmesh.transports.reasons import reason_text
from tunnelmesh.transports.ssh import signin
from tunnelmesh.transports.ssh.algorithms import key_from_blob
from tunnelmesh.transports.ssh.channel import FramesChannel
from tunnelmesh.transports.ssh.connection import FramesConnection
from tunnelmesh.transports.ssh.transport import FramesTransport, quiet

CONNECT_SECONDS = 10.0
"""From the first SYN to an open link. Where port 2222 is filtered nothing answers at all, and the
WebSocket is tried meanwhile."""

USER = b"tunnelmesh"
"""The user name that SSH wants; the key is who we are."""


class PeerSignIn(SSHService):
    """The client's side of sign-in: one request, already sent."""

    name = signin.USERAUTH
    _log = quiet
    transport: ClientTransport
    protocolMessages = {
        signin.FAILURE: "MSG_USERAUTH_FAILURE",
        signin.SUCCESS: "MSG_USERAUTH_SUCCESS",
        signin.BANNER: "MSG_USERAUTH_BANNER",
    }

    def ssh_USERAUTH_SUCCESS(self, packet: bytes) -> None:
        """We are in; the answer to the channel's opening follows."""
        self.transport.setService(self.transport.connection)

    def ssh_USERAUTH_FAILURE(self, packet: bytes) -> None:
        """:raises LinkError: always: we have one key."""
        raise LinkError(
            "the coordinator does not know this machine's key"
            f" {fingerprint(self.transport.own_key)}: run 'tunnelmesh leave --force' on it and join"
            " with a new invitation"
        )

    def ssh_USERAUTH_BANNER(self, packet: bytes) -> None:
        """A text for people, who are not here."""


class ClientTransport(FramesTransport, conch.SSHClientTransport):
    """The connection to the coordinator.

    :param reactor: the clock.
    :param identity_key: this machine's key.
    :param host_key_pin: the coordinator's public key, 32 bytes.
    :param user: who will use the link.
    :param proxy: the proxy that the connection goes through, for ``link.proxy``.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        identity_key: Ed25519PrivateKey,
        host_key_pin: bytes,
        user: ILinkUser,
        proxy: str | None,
    ) -> None:
        super().__init__(reactor)
        self._identity_key = identity_key
        self.own_key = identity_key.public_key().public_bytes_raw()
        self._host_key_pin = host_key_pin
        self.connection = FramesConnection()
        self._unopened = ClientChannel(user, proxy=proxy)
        self.link: Deferred[ILink] = Deferred(lambda _: self.end("given up"))
        """Fires when the link is open, or cannot be."""

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[bool]:
        """Compare the server's key with the pinned one, at every key exchange.

        :raises TrustError: if it is another.
        """
        key = key_from_blob(hostKey)
        if key != self._host_key_pin:
            raise TrustError(wrong_host_key(key, self._host_key_pin))
        self.key = key
        return succeed(True)

    def connectionSecure(self) -> None:
        """The first key exchange is done: say everything at once (conch calls this after each)."""
        if self.exchanges > 1:
            return
        signature = self._identity_key.sign(
            signin.signed_data(self.sessionID or b"", USER, self.own_key)
        )
        self.requestService(PeerSignIn())
        self.sendPacket(
            signin.REQUEST,
            signin.request(USER, self.own_key) + NS(signin.signature_blob(signature)),
        )
        self.connection.transport = self
        self.connection.openChannel(self._unopened)

    def failed(self, error: TunnelMeshError) -> None:
        """The coordinator is not whom we want, does not want us, or breaks the protocol."""
        super().failed(error)
        self._fail(error)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """TCP is gone."""
        super().connectionLost(reason)
        self._fail(LinkError(f"the SSH link to the coordinator did not open: {self.reason}"))

    def _fail(self, error: TunnelMeshError) -> None:
        if not self.link.called:
            self.link.errback(error)


class ClientChannel(FramesChannel):
    """The client's end of the channel: it knows who waits for it to open."""

    def channelOpen(self, specificData: bytes) -> None:
        """The link is open."""
        super().channelOpen(specificData)
        if not self.conn.transport.link.called:
            self.conn.transport.link.callback(self)

    def openFailed(self, reason: object) -> None:
        """The server refuses the channel, or is gone."""
        self.conn.transport.failed(LinkError(f"the coordinator opens no channel: {reason}"))


def connect(
    reactor: IReactorTime,
    endpoint: IStreamClientEndpoint,
    identity_key: Ed25519PrivateKey,
    host_key_pin: bytes,
    user: ILinkUser,
    *,
    proxy: str | None = None,
    timeout: float = CONNECT_SECONDS,
) -> Deferred[ILink]:
    """Open a link to the coordinator's SSH port.

    :param reactor: the clock.
    :param endpoint: where the port is: TCP, or through a proxy.
    :param identity_key: this machine's key.
    :param host_key_pin: the coordinator's Ed25519 public key, 32 bytes.
    :param user: hears ``link_opened`` before the Deferred fires.
    :param proxy: the proxy that *endpoint* goes through, without its password, for ``link.proxy``.
    :param timeout: seconds for everything.
    :returns: the open link; cancel it to give up. It fails with
        :exc:`~tunnelmesh.errors.TrustError` if the coordinator's key is not the pinned one, and
        otherwise with :exc:`~tunnelmesh.errors.LinkError`.
    """
    transport = ClientTransport(reactor, identity_key, host_key_pin, user, proxy)
    opening: Deferred[ILink] = Deferred.fromCoroutine(_open(endpoint, transport))
    return opening.addTimeout(timeout, reactor, lambda *_: _timed_out(timeout))


class _Once(Factory[ClientTransport]):
    """Hands out the one transport."""

    noisy = False

    def __init__(self, transport: ClientTransport) -> None:
        self._transport = transport

    def buildProtocol(self, addr: IAddress | None) -> ClientTransport:
        return self._transport


async def _open(endpoint: IStreamClientEndpoint, transport: ClientTransport) -> ILink:
    try:
        await endpoint.connect(_Once(transport))
    except (CancelledError, ConnectingCancelledError):
        raise CancelledError from None
    except TunnelMeshError:
        raise
    except Exception as error:
        raise LinkError(f"cannot reach the coordinator's SSH port: {reason_text(error)}") from None
    return await transport.link


def _timed_out(timeout: float) -> Failure:
    return Failure(
        LinkError(f"no SSH link within {timeout:g} s: something on the way blocks or delays it")
    )


def wrong_host_key(offered: bytes | None, pinned: bytes) -> str:
    """What to tell the user about a host key that is not the pinned one."""
    shown = "not an Ed25519 key" if offered is None else fingerprint(offered)
    return (
        f"the coordinator's SSH key is {shown}, not the pinned {fingerprint(pinned)}: somebody is"
        " in between, or it was set up anew; ask its operator, and join with a new invitation"
    )
