"""One link to the coordinator, from opening to closing: signing in, signals, and its health."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer

from tunnelmesh.errors import DecodeError, LinkError, SignalError, TunnelMeshError
from tunnelmesh.identity import Identity
from tunnelmesh.interfaces import ILink, ILinkUser
from tunnelmesh.paths.health import Health, State
from tunnelmesh.peer.timer import Timer
from tunnelmesh.transports.reasons import printable
from tunnelmesh.wire import frame, signal
from tunnelmesh.wire.signal import Challenge, Ping, Pong, Refused, Signal, SignIn, Welcome

SIGN_IN_SECONDS = 10.0
"""Seconds for the coordinator to say welcome, once a link is open."""

PATIENCE = (0.7, 2.0)
"""Seconds to wait for an answer on a link, at least and at most: over TCP a lost packet alone costs
a retransmission timeout of 0.2 s or more."""

_log = Logger()


class SessionUser(Protocol):
    """Who uses a session."""

    def signal_received(self, session: Session, message: Signal) -> None: ...
    def relay_received(
        self, session: Session, address: bytes, datagrams: Sequence[bytes]
    ) -> None: ...
    def session_doubtful(self, session: Session) -> None: ...
    def session_paused(self, session: Session, paused: bool) -> None: ...
    def session_lost(self, session: Session, reason: str) -> None: ...
    def expelled(self, message: Refused) -> None: ...


@implementer(ILinkUser)
class Session:
    """The peer's side of one link.

    :ivar welcome: what the coordinator said, once it has.
    :ivar health: of the link, judged as paths are.
    """

    def __init__(
        self,
        reactor: Any,
        identity: Identity,
        coordinator_key: bytes,
        software: str,
        tokens: Callable[[], int],
        user: SessionUser,
        *,
        userspace: bool = False,
    ) -> None:
        self.link: ILink | None = None
        self.welcome: Welcome | None = None
        self.health = Health(reactor.seconds(), tokens, trusted=True, patience=PATIENCE)
        self.odd = 0
        self._reactor = reactor
        self._identity = identity
        self._coordinator_key = coordinator_key
        self._software = software
        self._userspace = userspace
        self._user = user
        self._timer = Timer(reactor, self._expired)
        self._limit: Any = None
        self._awaiting: Deferred[Welcome] | None = None
        self._over: TunnelMeshError | None = None

    # What the user asks.

    def until_welcome(self) -> Deferred[Welcome]:
        """Wait until the coordinator says welcome.

        :returns: it fails with a :exc:`LinkError` if the session ends before.
        """
        if self._over is not None:
            return fail(self._over)
        if self.welcome is not None:
            return succeed(self.welcome)
        self._awaiting = Deferred()
        return self._awaiting

    @property
    def is_well(self) -> bool:
        """Whether the link is up and not in doubt."""
        return self._over is None and self.health.state is State.GOOD

    def send(self, message: Signal) -> None:
        """Send a signal."""
        if self.link is not None:
            self.link.send(signal.encode(message))

    def relayed(self) -> None:
        """Frames for other peers went out: the link must prove that it is alive."""
        self.health.sent(self._reactor.seconds(), 1)
        self._timer.set(self.health.deadline)

    def check(self) -> None:
        """Something suggests that the link might be broken: ask."""
        now = self._reactor.seconds()
        self.health.sent(now - self.health.patience, 1)
        self.health.deadline = now
        self._timer.set(now)

    def close(self, reason: str) -> None:
        """End it."""
        self._end(LinkError(reason))
        if self.link is not None:
            self.link.close(reason)

    # ILinkUser.

    def link_opened(self, link: ILink) -> None:
        """The link is open. Over SSH it is authentic already; otherwise a challenge follows."""
        if self._over is not None:
            link.close(str(self._over))
            return
        self.link = link
        self._limit = self._reactor.callLater(SIGN_IN_SECONDS, self._too_slow)
        if link.kind == "ssh":
            self._sign_in(b"")

    def frames_received(self, link: ILink, frames: Sequence[tuple[int, bytes]]) -> None:
        """Frames arrived."""
        self.health.heard(self._reactor.seconds())
        for kind, body in frames:
            if self._over is not None:
                return  # by what one of them said
            if kind == frame.RELAY and self.welcome is not None:
                self._relay_received(body)
            elif kind == frame.SIGNAL:
                self._signal_received(body)
            else:
                self.odd += 1

    def link_paused(self, link: ILink) -> None:
        """The link is full."""
        self._user.session_paused(self, True)

    def link_resumed(self, link: ILink) -> None:
        """The link has room."""
        self._user.session_paused(self, False)

    def link_lost(self, link: ILink, reason: str) -> None:
        """The link is gone."""
        if self._end(LinkError(reason)):
            self._user.session_lost(self, reason)

    # Inside.

    def _relay_received(self, body: bytes) -> None:
        try:
            address, datagrams = frame.decode_relay(body)
        except DecodeError:
            self.odd += 1
            return
        self._user.relay_received(self, address, datagrams)

    def _signal_received(self, body: bytes) -> None:
        try:
            message = signal.decode(body)
        except DecodeError as error:
            self.odd += 1
            _log.debug("a signal is left aside: {error}", error=error)
            return
        if message is None:
            self.odd += 1
        elif isinstance(message, Ping):
            self.send(Pong(message.token))
        elif isinstance(message, Pong):
            self.health.ponged(message.token, self._reactor.seconds())
        elif isinstance(message, Challenge):
            self._challenged(message)
        elif isinstance(message, Refused):
            if message.code in (signal.REVOKED, signal.LEFT):
                self._user.expelled(message)
            self._fail(LinkError(f"the coordinator refuses: {printable(message.message)}"))
        elif isinstance(message, Welcome):
            self._welcomed(message)
        elif self.welcome is not None:
            self._user.signal_received(self, message)

    def _challenged(self, challenge: Challenge) -> None:
        if challenge.major != signal.VERSION_MAJOR:
            newer = challenge.major > signal.VERSION_MAJOR
            who = "this machine" if newer else "the coordinator"
            self._fail(SignalError(f"the coordinator speaks another version: update {who}"))
        elif self.link is not None and self.link.kind != "ssh":
            text = signal.sign_in_text(challenge.nonce, self._coordinator_key)
            self._sign_in(self._identity.sign(text))

    def _sign_in(self, signature: bytes) -> None:
        key, software = self._identity.public_key, self._software
        self.send(SignIn(key, signature, software=software, userspace=self._userspace))

    def _welcomed(self, welcome: Welcome) -> None:
        if self.welcome is not None:
            return
        self.welcome = welcome
        self._limit.cancel()
        self._timer.set(self._reactor.seconds())
        if self._awaiting is not None:
            self._awaiting.callback(welcome)

    def _too_slow(self) -> None:
        self._fail(LinkError(f"the coordinator did not say welcome in {SIGN_IN_SECONDS:.0f} s"))

    def _fail(self, error: TunnelMeshError) -> None:
        if not self._end(error):
            return
        if self.link is not None:
            self.link.close(str(error))
        self._user.session_lost(self, str(error))

    def _end(self, error: TunnelMeshError) -> bool:
        """Stop, and say whether this had not happened before."""
        if self._over is not None:
            return False
        self._over = error
        self._timer.cancel()
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        if self._awaiting is not None and not self._awaiting.called:
            self._awaiting.errback(error)
        return True

    def _expired(self) -> None:
        now = self._reactor.seconds()
        for ping in self.health.expire(now):
            self.send(Ping(ping.token))
        if self.health.state is State.DEAD:
            self._fail(LinkError("the link to the coordinator stopped answering"))
            return
        self._timer.set(self.health.deadline)
        if self.health.state is State.SUSPECT:
            self._user.session_doubtful(self)
