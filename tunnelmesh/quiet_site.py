"""A web site for strangers: none of them fills the log, the disk or the memory."""

# mypy: allow-untyped-calls

from __future__ import annotations

from io import BytesIO

from twisted.logger import Logger
from twisted.web.http import NOT_ALLOWED, HTTPChannel, Request
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request as ServerRequest
from twisted.web.server import Site

from tunnelmesh.wire.enrol import MAX_BODY

_TOO_LONG = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


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
            super().requestReceived(command, path, version)

    def render(self, resrc: IResource) -> None:
        """Answer. HEAD is for what has a GET: Twisted takes that for granted of everything, so that
        each other one would be an error in the log."""
        gives = not isinstance(resrc, Resource) or hasattr(resrc, "render_GET")
        if self.method == b"HEAD" and not gives:
            self.setResponseCode(NOT_ALLOWED)
            self.setHeader(b"content-length", b"0")
            self.finish()
            return
        super().render(resrc)


class _QuietChannel(HTTPChannel):
    """A connection of which no line is written, either, when it has been idle for too long."""

    _log = Logger(observer=lambda event: None)  # type: ignore[arg-type]


class QuietSite(Site):
    """A site that writes no line per request, and takes short ones only.

    :param timeout: seconds that a connection may be silent.
    """

    noisy = False
    protocol = _QuietChannel  # type: ignore[assignment]

    def __init__(self, root: IResource, reactor: object, timeout: float) -> None:
        super().__init__(
            root,
            requestFactory=_ShortRequest,
            parsePOSTFormSubmission=False,
            timeout=timeout,
            reactor=reactor,
        )

    def log(self, request: Request) -> None:
        """Say nothing."""
