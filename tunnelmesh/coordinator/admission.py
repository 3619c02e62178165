"""Links whose other end has not signed in: what they may do is sign in, soon."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from tunnelmesh.coordinator.store import Member
from tunnelmesh.errors import DecodeError
from tunnelmesh.identity import verify
from tunnelmesh.interfaces import ILink
from tunnelmesh.wire import frame, signal

PATIENCE = 5.0
"""Seconds for signing in: several round trips of the slowest link."""

MOST_STRANGERS = 1024
"""Links that have not signed in, at once. The oldest goes when there is one more: whoever would
keep others out has to open a thousand within the round trip that an honest peer needs."""

REVOCATION = signal.Refused(
    signal.REVOKED,
    "this machine was removed from the mesh: to come back it needs a new invitation; run"
    " 'tunnelmesh leave' on it, then 'tunnelmesh up --join TOKEN'",
)
"""What who was removed is told, at once and whenever it comes back."""

LONGEST_SIGN_IN = 2048
"""Bytes; a sign-in takes some 300."""

_log = Logger()


@dataclass(slots=True)
class _Stranger:
    nonce: bytes
    since: float
    patience: IDelayedCall


class Admission:
    """Challenges strangers.

    :param key: the coordinator's public key.
    :param members: who may sign in, by public key.
    :param entropy: makes nonces.
    :param admitted: is called with the link, who it is, its sign-in, and the round trip in seconds
        if the challenge has shown it: over SSH nobody waits for that.
    :ivar refused: how many were turned away, or went away.
    :ivar barred: the keys of those who were removed from the mesh.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        key: bytes,
        members: Mapping[bytes, Member],
        entropy: Callable[[int], bytes],
        admitted: Callable[[ILink, Member, signal.SignIn, float | None], None],
    ) -> None:
        self.refused = 0
        self.barred: set[bytes] = set()
        self._reactor = reactor
        self._key = key
        self._members = members
        self._entropy = entropy
        self._admitted = admitted
        self._strangers: OrderedDict[ILink, _Stranger] = OrderedDict()

    def __len__(self) -> int:
        return len(self._strangers)

    def opened(self, link: ILink) -> None:
        """A link is open: challenge it."""
        if len(self._strangers) >= MOST_STRANGERS:
            self._turn_away(next(iter(self._strangers)), "too many are waiting")
        nonce = self._entropy(32)
        patience = self._reactor.callLater(PATIENCE, self._turn_away, link, "no sign-in in time")
        self._strangers[link] = _Stranger(nonce, self._reactor.seconds(), patience)
        link.send(signal.encode(signal.Challenge(nonce)))

    def frame_received(self, link: ILink, kind: int, body: bytes) -> None:
        """The stranger sent something: only a sign-in will do."""
        if link not in self._strangers:
            return
        message = None
        if kind == frame.SIGNAL and len(body) <= LONGEST_SIGN_IN:
            try:
                message = signal.decode(body)
            except DecodeError:
                pass
        if isinstance(message, signal.SignIn):
            self._sign_in(link, message)
        else:
            self._turn_away(link, "sign in first")

    def lost(self, link: ILink) -> None:
        """The link is gone."""
        if link in self._strangers:
            self.refused += 1
            self._forget(link)

    def close(self) -> None:
        """Turn everybody away."""
        for link in list(self._strangers):
            self._turn_away(link, "the coordinator stops")

    def _sign_in(self, link: ILink, message: signal.SignIn) -> None:
        stranger = self._strangers[link]
        text = signal.sign_in_text(stranger.nonce, self._key)
        if message.major != signal.VERSION_MAJOR:
            self._refuse(
                link,
                "version",
                f"this coordinator speaks version {signal.VERSION_MAJOR} of the protocol and the"
                f" peer version {message.major}: update the older of them",
            )
        elif link.key is not None and link.key != message.key:
            self._refuse(link, "key", "the key is not the one that the connection was opened with")
        elif link.key is None and not verify(message.key, message.signature, text):
            self._refuse(link, "signature", "the sign-in is not signed by its key")
        elif message.key in self.barred:
            self._refuse(link, REVOCATION.code, REVOCATION.message)
        elif message.key not in self._members:
            self._refuse(
                link,
                "unknown-key",
                "this machine is not a member: run 'tunnelmesh leave --force' on it, and join with"
                " a new invitation ('tunnelmesh up --join TOKEN')",
            )
        else:
            self._forget(link)
            rtt = self._reactor.seconds() - stranger.since if link.key is None else None
            link.key = message.key
            self._admitted(link, self._members[message.key], message, rtt)

    def _refuse(self, link: ILink, code: str, message: str) -> None:
        link.send(signal.encode(signal.Refused(code, message)))
        self._turn_away(link, message)

    def _turn_away(self, link: ILink, reason: str) -> None:
        self.refused += 1
        self._forget(link)
        link.close(reason)

    def _forget(self, link: ILink) -> None:
        patience = self._strangers.pop(link).patience
        if patience.active():
            patience.cancel()
