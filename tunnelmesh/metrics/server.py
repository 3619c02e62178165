"""Where Prometheus asks: ``GET /metrics``, on loopback, or with a token."""

# Twisted is partly without annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.web.http import FORBIDDEN, SERVICE_UNAVAILABLE, UNAUTHORIZED, Request
from twisted.web.resource import Resource

from tunnelmesh.errors import ConfigError, ListenError, TunnelMeshError
from tunnelmesh.metrics import token
from tunnelmesh.quiet_site import QuietSite

IDLE_SECONDS = 30.0
"""Seconds that a connection may be silent."""

_log = Logger()


class MetricsServer(Service):
    """Listens for Prometheus.

    :param where: the address and the port.
    :param text: gives the metrics.
    """

    def __init__(
        self, reactor: Any, where: tuple[str, int], state_dir: Path, text: Callable[[], bytes]
    ) -> None:
        self._reactor = reactor
        self._where = where
        self._state_dir = state_dir
        self._text = text
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Listen.

        :raises ConfigError: if the host is no address; :raises ListenError: if the port is taken.
        """
        host, port = self._where
        try:
            address = ip_address("127.0.0.1" if host == "localhost" else host)
        except ValueError:
            raise ConfigError(
                f"--metrics needs an address of this machine, not the name {host}"
            ) from None
        secret = None if address.is_loopback else token.load_or_create(self._state_dir)
        root = Resource()
        root.putChild(b"metrics", _Metrics(self._text, secret))
        site = QuietSite(root, self._reactor, IDLE_SECONDS)
        try:
            self._port = self._reactor.listenTCP(port, site, interface=str(address))
        except CannotListenError as error:
            raise ListenError(
                f"TCP {host}:{port} cannot be used for --metrics ({error.socketError}); give "
                "another port"
            ) from None
        super().startService()
        _log.info("metrics at http://{where}/metrics", where=_shown(self._port))

    def stopService(self) -> Deferred[None]:
        """Stop listening."""
        super().stopService()
        port, self._port = self._port, None
        stopping = None if port is None else port.stopListening()
        return succeed(None) if stopping is None else stopping


def _shown(port: IListeningPort) -> str:
    at: Any = port.getHost()
    return f"[{at.host}]:{at.port}" if ":" in at.host else f"{at.host}:{at.port}"


class _Metrics(Resource):
    isLeaf = True

    def __init__(self, text: Callable[[], bytes], secret: str | None) -> None:
        super().__init__()
        self._text = text
        self._expected = None if secret is None else f"Bearer {secret}".encode()

    def render_GET(self, request: Request) -> bytes:
        """Answer a scrape."""
        request.setHeader(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        if self._expected is None:
            # A web page elsewhere may have its own name lead here (DNS rebinding).
            if not _is_loopback(request.getHeader("host") or ""):
                request.setResponseCode(FORBIDDEN)
                return b"ask by a loopback address\n"
        elif not compare_digest(
            (request.getHeader("authorization") or "").encode("utf-8", "replace"), self._expected
        ):
            request.setResponseCode(UNAUTHORIZED)
            request.setHeader(b"www-authenticate", b'Bearer realm="tunnelmesh"')
            return b"the token is what 'tunnelmesh metrics --token' prints\n"
        try:
            return self._text()
        except TunnelMeshError as error:
            request.setResponseCode(SERVICE_UNAVAILABLE)
            return f"{error}\n".encode()


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
