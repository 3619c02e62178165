"""The coordinator's small web site: a page for people, ``/healthz``, enrolment and links."""

# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

from io import BytesIO

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.http import HTTPChannel, Request
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request as ServerRequest
from twisted.web.server import Site

from tunnelmesh.transports.websocket.link import OPEN_SECONDS
from tunnelmesh.wire.enrol import MAX_BODY

_PAGE = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>TunnelMesh coordinator</title>
<style>body{font:1.1em/1.5 sans-serif;max-width:34em;margin:4em auto;padding:0 1em}</style>
<h1>TunnelMesh coordinator</h1>
<p>This machine introduces the peers of a private network to each other. What they say to each
other is encrypted from end to end, also where it passes through here.
<p>To join, ask its owner for an invitation.
</html>
"""

_TOO_LONG = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class _Page(Resource):
    """One body that never changes."""

    isLeaf = False

    def __init__(self, content_type: bytes, body: bytes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._content_type = content_type
        self._body = body

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-type", self._content_type)
        request.setHeader(
            b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"
        )
        return self._body


class _ShortRequest(ServerRequest):
    """A request whose body is small, and cut off when it is not."""

    too_long = False

    def gotLength(self, length: int | None) -> None:
        """The headers are over. Never a temporary file, which Twisted would take."""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Some of the body came."""
        assert self.content is not None
        assert self.channel.transport is not None
        if self.too_long:
            return
        if self.content.tell() + len(data) <= MAX_BODY:
            self.content.write(data)
            return
        self.too_long = True
        self.channel.transport.write(_TOO_LONG)
        self.channel.loseConnection()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of the request came."""
        if not self.too_long:
            super().requestReceived(  # type: ignore[no-untyped-call]
                command, path, version
            )


class _QuietChannel(HTTPChannel):
    """A connection of which no line is written, either, when it has been idle for too long."""

    _log = Logger(observer=lambda event: None)  # type: ignore[arg-type]


class _QuietSite(Site):
    """A site that writes no line per request: strangers must not fill the disk."""

    noisy = False
    protocol = _QuietChannel  # type: ignore[assignment]

    def log(self, request: Request) -> None:
        """Say nothing."""


def make_site(
    reactor: IReactorTime, enrol: IResource, link: IResource, dashboard: IResource
) -> Site:
    """The site.

    :param enrol: what answers at ``/v1/enrol``.
    :param link: what answers at ``/v1/link``, where WebSockets begin.
    :param dashboard: what answers at ``/dashboard``.
    """
    version = Resource()
    version.putChild(b"enrol", enrol)
    version.putChild(b"link", link)
    root = _Page(b"text/html; charset=utf-8", _PAGE)
    root.putChild(b"", root)
    root.putChild(b"healthz", _Page(b"application/json", b'{"status": "ok"}\n'))
    root.putChild(b"v1", version)
    root.putChild(b"dashboard", dashboard)
    return _QuietSite(  # type: ignore[no-untyped-call]
        root,
        requestFactory=_ShortRequest,
        parsePOSTFormSubmission=False,
        timeout=OPEN_SECONDS,
        reactor=reactor,
    )
