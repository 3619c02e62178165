"""The coordinator's small web site: a page for people, ``/healthz``, enrolment and links."""

# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import Request
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site

from tunnelmesh.quiet_site import QuietSite
from tunnelmesh.transports.websocket.link import OPEN_SECONDS

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
    return QuietSite(root, reactor, OPEN_SECONDS)
