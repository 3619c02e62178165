"""What a proxy says to people in its own name."""

from __future__ import annotations

from http import HTTPStatus

from tunnelmesh.errors import NotAllowedError, OfflineError, StreamTimeoutError, UnknownPeerError
from tunnelmesh.wire.http import Answer

PLAIN = "text/plain; charset=utf-8"


def page(status: int, text: str, media_type: str = PLAIN) -> bytes:
    """Write a whole answer, after which the connection is closed."""
    body = text.encode()
    fields = (
        ("Content-Type", media_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
    )
    return Answer(status, HTTPStatus(status).phrase, 1, fields).encode() + body


def status_of(error: Exception) -> int:
    """How HTTP calls it that a stream cannot be opened."""
    if isinstance(error, (NotAllowedError, UnknownPeerError)):
        return HTTPStatus.FORBIDDEN
    if isinstance(error, (OfflineError, StreamTimeoutError)):
        return HTTPStatus.GATEWAY_TIMEOUT
    return HTTPStatus.BAD_GATEWAY
