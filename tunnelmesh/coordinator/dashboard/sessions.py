"""Who is signed in: links that work once, and the sessions that they begin.

Of secrets only hashes are kept, and looked up by: how long that takes tells nothing of the secret.
All of it dies with the process. Time comes in as ``now``, in seconds of any clock.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from tunnelmesh.errors import SignInError

LINK_SECONDS = 600.0
"""For a person to carry the link from a terminal to a browser."""

SESSION_SECONDS = 12 * 3600.0
"""Longest session: a working day."""

IDLE_SECONDS = 3600.0
"""A session ends when its browser has not been heard of for so long. An open page is heard of."""

MOST_LINKS = 16
"""Links that can be used, or were used within their time; one more and the oldest is forgotten."""

MOST_SESSIONS = 32
"""Likewise; each began with a link from the coordinator's own machine."""

SECRET = 32
"""Bytes of a secret: nobody guesses 256 bits."""

NEW_LINK = "run 'tunnelmesh dashboard' on the coordinator for a new one"


@dataclass(slots=True)
class _Link:
    ends: float
    used: bool = False


@dataclass(slots=True)
class _Session:
    ends: float
    idle: float


class Sessions:
    """The links and sessions that there are.

    :param entropy: makes secrets.
    """

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._links: OrderedDict[bytes, _Link] = OrderedDict()
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def new_link(self, now: float) -> str:
        """A secret with which a session can be begun, once, within :data:`LINK_SECONDS`."""
        secret = self._secret()
        self._links[_digest(secret)] = _Link(now + LINK_SECONDS)
        while len(self._links) > MOST_LINKS:
            self._links.popitem(last=False)
        return secret

    def begin(self, link: str, now: float) -> str:
        """Use a link.

        :returns: the session's secret.
        :raises SignInError: if it has been used, is too old, or never was one.
        """
        found = self._links.get(_digest(link))
        if found is None or now >= found.ends:
            raise SignInError(f"This link is not valid, or not any more: {NEW_LINK}.")
        if found.used:
            raise SignInError(
                "This link has been used already, and works only once. If it was not you who used "
                f"it, restart the coordinator, which ends every session. To sign in, {NEW_LINK}."
            )
        found.used = True
        secret = self._secret()
        self._sessions[_digest(secret)] = _Session(now + SESSION_SECONDS, now + IDLE_SECONDS)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return secret

    def is_valid(self, secret: str, now: float) -> bool:
        """Whether a session is on; it has been heard of then."""
        digest = _digest(secret)
        session = self._sessions.get(digest)
        if session is None:
            return False
        if now >= min(session.ends, session.idle):
            del self._sessions[digest]
            return False
        session.idle = now + IDLE_SECONDS
        return True

    def end(self, secret: str) -> None:
        """Sign out."""
        self._sessions.pop(_digest(secret), None)

    def _secret(self) -> str:
        return urlsafe_b64encode(self._entropy(SECRET)).decode().rstrip("=")


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "replace")).digest()
