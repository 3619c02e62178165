"""How long ago something was, and since when a peer is gone, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunnelmesh.peer.pair.remote import Remote

_UNITS = (("days", 86400), ("h", 3600), ("min", 60))


def gone_since(remote: Remote, unix_now: float) -> str:
    """How long ago a peer that is offline was online: ``last seen 3 h ago``.

    :param unix_now: the time, in Unix time. The moment itself is by the coordinator's clock.
    """
    return last_seen(remote.seen, unix_now)


def last_seen(seen: int | None, unix_now: float) -> str:
    """The same of a moment in Unix time; 0 or None if it is not known."""
    return f"last seen {age(unix_now - seen)} ago" if seen else "not seen yet"


def age(seconds: float) -> str:
    """A time that has passed, in the largest unit of which there are two."""
    seconds = max(0.0, seconds)
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
