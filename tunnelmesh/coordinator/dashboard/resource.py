"""The dashboard's part of the coordinator's web site, ``/dashboard/``.

The page itself is no secret and is given to anybody; what it shows is given to who is signed in.
"""

# Twisted is partly without annotations.
# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from hashlib import sha256
from importlib.resources import files
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.http import (
    BAD_REQUEST,
    CACHED,
    FORBIDDEN,
    INTERNAL_SERVER_ERROR,
    UNAUTHORIZED,
    Request,
)
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from tunnelmesh.coordinator.buckets import TokenBuckets
from tunnelmesh.coordinator.dashboard import origin
from tunnelmesh.coordinator.dashboard.actions import Actions
from tunnelmesh.coordinator.dashboard.sessions import Sessions
from tunnelmesh.errors import SignInError, TunnelMeshError
from tunnelmesh.transports.strangers import source
from tunnelmesh.wire import schema

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; require-trusted-types-for 'script'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""With every answer: nothing from elsewhere, nothing inline, in nobody's frame."""

TOO_MANY_REQUESTS = 429
"""RFC 6585 §4; Twisted has no name for it."""

FAILURES = 10
FAILURE_INTERVAL = 1.0
"""Links that do not work which an address may try at once, and seconds until it has another try."""

FAILURES_KEPT = 1024
"""Addresses whose failures are remembered."""

_log = Logger()


class _Page(Resource):
    """One of the files that the page is made of."""

    def __init__(self, body: bytes, content_type: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._body = body
        self._content_type = content_type
        self._tag = b'"%s"' % sha256(body).hexdigest()[:16].encode()

    def render_GET(self, request: Request) -> bytes:
        """Give it, unless the browser has it: it asks each time, as an update may change it."""
        _set_headers(request, "no-cache")
        if request.setETag(self._tag) is CACHED:
            return b""
        request.setHeader(b"content-type", self._content_type.encode())
        return self._body


class _Begin(Resource):
    """``/dashboard``: the page is one level below, so that its files are."""

    def render_GET(self, request: Request) -> bytes:
        _set_headers(request, "no-store")
        request.redirect(b"/dashboard/")
        return b""


class _Question(Resource):
    """Asks the mesh for something, or does something to it, for who is signed in.

    :param answer: takes decoded JSON, or None for a GET.
    """

    isLeaf = True

    def __init__(self, answer: Callable[[Request, Any], Awaitable[Any]], method: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._answer = answer
        self.allowedMethods = (method.encode(),)

    def render(self, request: Request) -> int | bytes:
        """Answer, in time."""
        _set_headers(request, "no-store")
        if request.method not in self.allowedMethods:
            return super().render(request)  # type: ignore[no-any-return,no-untyped-call]
        gone = request.notifyFinish()
        gone.addErrback(lambda _: None)
        Deferred.fromCoroutine(self._respond(request, gone))
        return NOT_DONE_YET

    async def _respond(self, request: Request, gone: Deferred[None]) -> None:
        status, answer = 200, None
        try:
            asked = None if request.method == b"GET" else _asked(request)
            answer = await self._answer(request, asked)
        except _RefusedError as error:
            status, answer = error.status, {"error": str(error)}
        except TunnelMeshError as error:
            status, answer = BAD_REQUEST, {"error": str(error)}
        except Exception:
            _log.failure("the dashboard cannot answer")
            status, answer = INTERNAL_SERVER_ERROR, {"error": "internal error: see the log"}
        if gone.called:
            return
        body = json.dumps(answer).encode()
        request.setResponseCode(status)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"content-length", b"%d" % len(body))
        request.write(body)
        request.finish()


class _RefusedError(SignInError):
    """With an HTTP status of its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Doors:
    """Signs browsers in and out, and asks for their session wherever it is needed.

    :param signed_out: is called after a session was ended.
    """

    def __init__(
        self, reactor: IReactorTime, sessions: Sessions, signed_out: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._sessions = sessions
        self._signed_out = signed_out
        self._failures = TokenBuckets(FAILURES, FAILURE_INTERVAL, FAILURES_KEPT)

    def behind(self, answer: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """*answer*, for those only who are signed in."""

        async def guarded(request: Request, asked: Any) -> Any:
            if not self._sessions.is_valid(_session(request), self._reactor.seconds()):
                raise _RefusedError(UNAUTHORIZED, "not signed in")
            return await (answer() if asked is None else answer(asked))

        return guarded

    async def sign_in(self, request: Request, asked: Any) -> Any:
        """Use a link."""
        now = self._reactor.seconds()
        visitor = source(request.getClientAddress())
        if self._failures.left(visitor, now) < 1:
            raise _RefusedError(TOO_MANY_REQUESTS, "too many failed attempts: wait a few seconds")
        link = asked.get("link") if isinstance(asked, dict) else None
        try:
            secret = self._sessions.begin(link if isinstance(link, str) else "", now)
        except SignInError as error:
            self._failures.take(visitor, now)
            raise _RefusedError(FORBIDDEN, str(error)) from None
        self._sessions.end(_session(request))  # the one that this browser had, if any
        _log.info("somebody has signed in to the dashboard from {visitor}", visitor=visitor)
        request.responseHeaders.addRawHeader("set-cookie", origin.cookie(secret))
        return {}

    async def sign_out(self, request: Request, asked: Any) -> Any:
        """End the session."""
        self._sessions.end(_session(request))
        self._signed_out()
        request.responseHeaders.addRawHeader("set-cookie", origin.cookie(""))
        return {}


def dashboard_resource(doors: Doors, actions: Actions, live: IResource) -> Resource:
    """All of it.

    :param live: where pages open their WebSockets.
    """

    async def session() -> dict[str, Any]:
        return {}

    root = _Begin()  # type: ignore[no-untyped-call]
    for file in files(__package__).joinpath("files").iterdir():
        kind = TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            page = _Page(file.read_bytes(), kind)
            root.putChild((b"" if kind is TYPES["html"] else file.name.encode()), page)
    root.putChild(b"live", live)
    for path, method, answer in (
        ("sign-in", "POST", doors.sign_in),
        ("sign-out", "POST", doors.sign_out),
        ("session", "GET", doors.behind(session)),
        ("invitations", "GET", doors.behind(actions.invitations)),
        ("invite", "POST", doors.behind(actions.invite)),
        ("cancel", "POST", doors.behind(actions.cancel)),
        ("revoke", "POST", doors.behind(actions.revoke)),
    ):
        root.putChild(path.encode(), _Question(answer, method))
    return root


def _set_headers(request: Request, caching: str) -> None:
    for name, value in HEADERS.items():
        request.setHeader(name, value)
    request.setHeader("Cache-Control", caching)


def _session(request: Request) -> str:
    return origin.session_in(request.getHeader("cookie"))


def _asked(request: Request) -> Any:
    """What a POST from our own page asks.

    :raises SignInError: if it comes from another one. No form of another site's can send JSON, and
        its scripts only after asking (CORS); Origin says it plainly besides.
    """
    kind = (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
    if not origin.is_own(request.getHeader("host"), request.getHeader("origin")):
        raise _RefusedError(FORBIDDEN, "this request does not come from the dashboard's own page")
    if kind != "application/json":
        raise _RefusedError(FORBIDDEN, "not JSON")
    assert request.content is not None
    asked = schema.parse(request.content.read())
    return {} if asked is None else asked
