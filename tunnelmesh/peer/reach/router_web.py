"""Speak HTTP with the router: directly, briefly, and believing nothing."""

# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.logger import Logger

from tunnelmesh.nat.portmap.markup import MAX_BYTES
from tunnelmesh.transports import http_exchange

if TYPE_CHECKING:
    from tunnelmesh.nat.portmap.speaker import Fetch

PATIENCE = 3.0
"""Seconds for a connection and a whole answer; routers take tens of milliseconds."""

MAX_ANSWER = MAX_BYTES + 8192
"""Bytes read at most, the headers included."""

_log = Logger()


class RouterWeb:
    """Asks web servers on the LAN: never through a proxy, never following a redirect."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    async def fetch(self, asked: Fetch) -> bytes | None:
        """Ask, and return the answer's body, whatever its status; None if there is none."""
        try:
            asking = Deferred.fromCoroutine(self._fetch(asked))
            return await asking.addTimeout(PATIENCE, self._reactor)
        except Exception as error:
            _log.info("no answer from {url}: {error}", url=asked.url, error=error)
            return None

    async def _fetch(self, asked: Fetch) -> bytes:
        url = urlsplit(asked.url)
        headers = {"User-Agent": "TunnelMesh"}
        if asked.action:
            headers["Content-Type"] = 'text/xml; charset="utf-8"'
            headers["SOAPAction"] = f'"{asked.action}"'
        request = http_exchange.written(
            "POST" if asked.action else "GET",
            (url.path or "/") + (url.query and f"?{url.query}"),
            url.netloc,
            headers,
            asked.body,
        )
        endpoint = TCP4ClientEndpoint(self._reactor, str(url.hostname), url.port or 80)
        answer = await http_exchange.exchange(endpoint, request, MAX_ANSWER)
        return answer.body
