"""Whether a request comes from our own page, and from which session.

A browser sends a cookie with ``SameSite=Strict`` only from the site itself; and beside that it says
in ``Origin`` which page a POST or a WebSocket comes from (RFC 6454 §7), which no page can change.
"""

from __future__ import annotations

COOKIE = "__Host-tunnelmesh"
"""The prefix makes browsers insist that it came by HTTPS, from this host, and for all of it
(RFC 6265bis §4.1.3.2)."""

LONGEST = 4096
"""Characters of a Cookie header that are looked at."""


def is_own(host: str | None, origin: str | None) -> bool:
    """Whether the page at *origin* is of the site that was asked as *host*."""
    return bool(host) and origin is not None and origin.lower() == f"https://{host}".lower()


def session_in(cookies: str | None) -> str:
    """The session's secret in a Cookie header, or nothing."""
    for pair in (cookies or "")[:LONGEST].split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def cookie(secret: str) -> str:
    """A Set-Cookie header that begins a session, or with an empty secret ends it."""
    life = "" if secret else "; Max-Age=0"
    return f"{COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Strict{life}"
