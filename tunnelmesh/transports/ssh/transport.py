"""The SSH transport layer (RFC 4253) of both ends, kept within bounds.

What conch leaves open is closed here: time and bytes before sign-in, bytes waiting to be sent,
rekeying, messages that make conch's parsing raise, and connections that do not close.
"""

# conch is mostly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.conch.ssh import transport as conch
from twisted.internet.interfaces import (
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.logger import ILogObserver, LogEvent, Logger
from twisted.python.failure import Failure
from zope.interface import implementer, provider

from tunnelmesh.errors import LinkError, TunnelMeshError
from tunnelmesh.transports.reasons import printable, reason_text
from tunnelmesh.transports.ssh import algorithms

if TYPE_CHECKING:
    from tunnelmesh.transports.ssh.channel import FramesChannel

LOGIN_SECONDS = 10.0
"""From the TCP connection to an open channel: five round trips, on the worst satellite 4 s."""

LOGIN_BYTES = 32 * 1024
"""Bytes taken before the channel is open; ours needs 3 KB, OpenSSH with many keys under 16 KB."""

MAX_UNSENT = 128 * 1024
"""Bytes that the kernel holds before it has sent any. By itself it takes megabytes, and a signal
behind them waits: half a second at 20 Mbit/s, a third of that so."""

REKEY_SECONDS = 3600.0
"""A key exchange each hour, as RFC 4253 §9 advises."""

REKEY_BYTES = 1 << 30
"""A key exchange for each gigabyte sent (RFC 4253 §9); AES in counter mode would bear 64."""

EXCHANGE_SECONDS = 30.0
"""A key exchange that takes longer has stalled: it needs two round trips."""

CLOSE_SECONDS = 5.0
"""How long a closing connection may take to flush before it is cut off."""

MAX_BACKLOG = 1 << 20
"""Bytes of messages waiting for TCP or for a key exchange. Bulk stops far below, so what fills it
are signals, or answers to requests, for an end that has stopped reading."""

PACKET_OVERHEAD = 64
"""Bytes that a message costs beside its payload: header, padding and MAC of up to 84, usually 56.
The answer to a refused request has no payload at all."""

_FIRST_EXCHANGE = frozenset(
    {
        conch.MSG_DISCONNECT,
        conch.MSG_KEXINIT,
        conch.MSG_NEWKEYS,
        conch.MSG_KEX_DH_GEX_REQUEST_OLD,
        conch.MSG_KEX_DH_GEX_GROUP,
    }
)
"""All that may come before the connection is encrypted; conch would serve any message."""

_EXCHANGE = frozenset({conch.MSG_NEWKEYS, *range(30, 50)})
"""All that belongs to a key exchange under way; conch would act on it at any time, and serve
exchanges that were never agreed on."""

SERVICE_MESSAGES = 50
"""Messages from this number on belong to sign-in and channels (RFC 4251 §7)."""


@provider(ILogObserver)
def _discard(event: LogEvent) -> None:
    """Log nothing."""


quiet = Logger(observer=_discard)
"""For conch's own lines, with which strangers could fill the log; users of links log changes."""


@implementer(IPushProducer)
class FramesTransport(conch.SSHTransportBase):
    """What the server's and the client's transport have in common; mixed in before conch's.

    Registered as the TCP connection's producer, it learns when TCP's buffer is full.

    :param reactor: the clock.
    """

    _log = quiet
    ourVersionString = b"SSH-2.0-TunnelMesh"
    supportedKeyExchanges = algorithms.KEY_EXCHANGES
    supportedPublicKeys = algorithms.PUBLIC_KEYS
    supportedCiphers = algorithms.CIPHERS
    supportedMACs = algorithms.MACS
    supportedCompressions = algorithms.COMPRESSIONS

    transport: Any
    rekey_seconds = REKEY_SECONDS
    rekey_bytes = REKEY_BYTES

    def __init__(self, reactor: IReactorTime) -> None:
        self.reactor = reactor
        self.key: bytes | None = None
        """The other end's Ed25519 public key (32 bytes), once it has proved it."""
        self.channel: FramesChannel | None = None
        """The open channel, once it is."""
        self.backlog = 0
        """Bytes waiting for TCP or for a key exchange."""
        self.reason = ""
        """Why the connection ended, for people."""
        self.ended = False
        self.exchanges = 0
        """Key exchanges completed."""
        self._choked = False
        self._login_bytes = 0
        self._sent = 0
        self._timer: IDelayedCall | None = None

    # The connection's life.

    def connectionMade(self) -> None:
        """TCP is open: sign-in must follow soon."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            _bound_unsent(self.transport)
        self.transport.registerProducer(self, True)
        self._arm(LOGIN_SECONDS, self.end, f"not signed in within {LOGIN_SECONDS:.0f} s")
        super().connectionMade()

    def opened(self, channel: FramesChannel) -> None:
        """The channel is open: from here on the limits are a member's."""
        self.channel = channel
        self._arm(self.rekey_seconds, self.sendKexInit)

    def end(self, reason: str) -> None:
        """Say goodbye, with *reason* for the other end's log, and close."""
        self.sendDisconnect(conch.DISCONNECT_BY_APPLICATION, reason.encode())

    def sendDisconnect(self, reason: int, desc: bytes | str) -> None:
        """Close in an orderly way, but within :data:`CLOSE_SECONDS`.

        :param reason: the SSH code.
        """
        if self.ended:
            return
        self._remember(desc)
        try:
            super().sendDisconnect(reason, desc)
        finally:
            # Also where an attacker has left conch without keys to say goodbye with.
            self._closing()

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        """The other end says goodbye."""
        self._remember(description)
        self._closing()

    def _closing(self) -> None:
        self.ended = True
        # A paused producer would keep Twisted from closing.
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self._arm(CLOSE_SECONDS, self.transport.abortConnection)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """TCP is gone; the channel, if any, hears of it from conch."""
        self.ended = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if reason is not None and reason.value is not None:
            self._remember(reason_text(reason.value))
        super().connectionLost(reason)

    def _remember(self, reason: bytes | str) -> None:
        """Keep the first reason given, made safe to print."""
        if not self.reason:
            text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason
            self.reason = printable(text)

    def _arm(self, seconds: float, act: object, *args: object) -> None:
        """Set the connection's one timer, which is for whatever comes next in its life."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self.reactor.callLater(seconds, act, *args)  # type: ignore[arg-type]

    # What arrives.

    def dataReceived(self, data: bytes) -> None:
        """Let conch take packets out of *data*; what it trips over ends the connection."""
        if self.ended:
            return
        if self.channel is None:
            self._login_bytes += len(data)
            if self._login_bytes > LOGIN_BYTES:
                self.end("too many bytes before sign-in")
                return
        try:
            super().dataReceived(data)
        except Exception as error:
            self.broken(error)

    def broken(self, error: BaseException | None) -> None:
        """Acting on a message raised: one of our own errors, or whatever conch tripped over.

        conch parses as it goes, and raises what a malformed message makes it raise. Faults of the
        link's user do not come this way: the channel catches them.
        """
        if not isinstance(error, TunnelMeshError):
            error = LinkError(f"malformed SSH message ({type(error).__name__})")
        self.failed(error)

    def failed(self, error: TunnelMeshError) -> None:
        """The other end broke the protocol, or is not whom we want."""
        try:
            self.end(str(error))
        except Exception:
            # No state in which even a goodbye can be sealed; the connection is closing already.
            pass

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        """Act on one message, unless this is no time for it."""
        if self.ended:
            return
        if messageNum not in _FIRST_EXCHANGE and not self.isEncrypted("in"):
            raise LinkError(f"SSH message {messageNum} before the key exchange")
        if messageNum in _EXCHANGE and not (self._exchanging and messageNum in _FIRST_EXCHANGE):
            raise LinkError(f"SSH message {messageNum} out of turn")
        super().dispatchMessage(messageNum, payload)

    # What is sent.

    def sendPacket(self, messageType: int, payload: bytes) -> None:
        """Send one message, or let it wait for the key exchange under way.

        :param payload: what follows the message's number.
        """
        if self.ended:
            return
        service = messageType >= SERVICE_MESSAGES
        if self._choked or (service and self._exchanging):
            self.backlog += len(payload) + PACKET_OVERHEAD
            if self.backlog > MAX_BACKLOG:
                self._remember("the other end does not read")
                self.ended = True
                self.transport.abortConnection()
                return
        super().sendPacket(messageType, payload)
        self._sent += len(payload)
        if service and self._sent >= self.rekey_bytes and self.channel and not self._exchanging:
            self.sendKexInit()

    def pauseProducing(self) -> None:
        """TCP's buffer is full."""
        self._choked = True

    def resumeProducing(self) -> None:
        """TCP's buffer is empty again."""
        self._choked = False
        self._relieve()

    def stopProducing(self) -> None:
        """TCP is gone; connectionLost follows."""

    def _relieve(self) -> None:
        if not self._choked and not self._exchanging:
            self.backlog = 0
            if self.channel is not None:
                self.channel.room_changed()

    # Rekeying: conch answers an exchange, but starts none after the first.

    @property
    def _exchanging(self) -> bool:
        return bool(self._keyExchangeState != self._KEY_EXCHANGE_NONE)

    def sendKexInit(self) -> None:
        """Begin, or answer, a key exchange; service messages wait in conch until it is done."""
        self._sent = 0
        super().sendKexInit()
        if self.channel is not None and not self.ended:
            self._arm(EXCHANGE_SECONDS, self.end, "the key exchange has stalled")

    def _newKeys(self) -> None:
        """The exchange is done: conch sends what has waited."""
        self.exchanges += 1
        self.backlog = 0
        if self.channel is not None:
            self._arm(self.rekey_seconds, self.sendKexInit)
        super()._newKeys()
        self._relieve()


def _bound_unsent(tcp: ITCPTransport) -> None:
    """Set :data:`MAX_UNSENT`, where the platform can and there is a socket to set it on."""
    handle = getattr(tcp, "getHandle", lambda: None)()
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and isinstance(handle, socket.socket):
        handle.setsockopt(socket.IPPROTO_TCP, option, MAX_UNSENT)
