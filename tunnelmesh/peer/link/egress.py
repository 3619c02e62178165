"""How this machine gets out to the coordinator: SSH or WebSocket, directly or through a proxy."""

# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint

from tunnelmesh.identity import Identity
from tunnelmesh.interfaces import ILink, ILinkUser
from tunnelmesh.transports.proxy_settings import Proxy, proxy_for

CONNECT_SECONDS = 4.0
"""Seconds for one TCP connection: three tries of the kernel, whose fourth would be at seven."""


class Whereabouts(NamedTuple):
    """Where a coordinator is, and how to know it.

    :ivar pin: its Ed25519 public key.
    :ivar tls_by_name: whether TLS is verified by *host* and not by the pin.
    """

    host: str
    https_port: int
    ssh_port: int
    pin: bytes
    tls_by_name: bool


class Route(NamedTuple):
    """One way of opening a link."""

    kind: str
    proxy: Proxy | None

    def __str__(self) -> str:
        return self.kind if self.proxy is None else f"{self.kind} through {self.proxy}"


class Egress:
    """The ways out of this machine's network.

    :param setting: ``auto``, ``none`` or the URL of a proxy.
    :param environment: the process's.
    :raises ConfigError: if a proxy's URL is malformed.

    :ivar routes: ways to open a link, in the order of preference.
    """

    def __init__(
        self, reactor: Any, where: Whereabouts, setting: str, environment: Mapping[str, str]
    ) -> None:
        self._reactor = reactor
        self._where = where
        self._proxied: dict[tuple[Proxy, int], IStreamClientEndpoint] = {}
        self.proxy = proxy_for(setting, where.host, where.https_port, environment)
        direct = [Route("ssh", None), Route("websocket", None)]
        if self.proxy is None:
            self.routes = direct
        else:
            proxied = [Route("websocket", self.proxy), Route("ssh", self.proxy)]
            # What the environment says may be left over from another network; what the user says
            # on the command line is meant.
            self.routes = [direct[0], *proxied, direct[1]] if setting == "auto" else proxied

    def open(self, route: Route, identity: Identity, user: ILinkUser) -> Deferred[ILink]:
        """Open a link; it fails with a :exc:`LinkError` or :exc:`TrustError`."""
        where = self._where
        proxy = None if route.proxy is None else str(route.proxy)
        # Imported only when used: together they take longer than all the rest of a start.
        if route.kind == "ssh":
            from tunnelmesh.transports.ssh.client import connect as connect_ssh

            return connect_ssh(
                self._reactor,
                self._endpoint(route.proxy, where.ssh_port),
                identity.private_key,
                where.pin,
                user,
                proxy=proxy,
            )
        from tunnelmesh.transports.websocket.client import connect as connect_websocket

        return connect_websocket(
            self._reactor,
            self._endpoint(route.proxy, where.https_port),
            where.host,
            where.https_port,
            user,
            pin=self._pin,
            proxy=proxy,
        )

    def https(self, proxy: Proxy | None) -> IStreamClientEndpoint:
        """TLS to the coordinator, verified as it must be."""
        from tunnelmesh.transports.tls import client_tls

        where = self._where
        creator = client_tls(where.host, self._pin, None if proxy is None else str(proxy))
        return wrapClientTLS(creator, self._endpoint(proxy, where.https_port), self._reactor)

    @property
    def _pin(self) -> bytes | None:
        return None if self._where.tls_by_name else self._where.pin

    def _endpoint(self, proxy: Proxy | None, port: int) -> IStreamClientEndpoint:
        if proxy is None:
            return self._tcp(self._where.host, port)
        if (proxy, port) not in self._proxied:
            from tunnelmesh.transports.connect_proxy import ProxyConnectEndpoint

            tcp = self._tcp(proxy.host, proxy.port)
            endpoint = ProxyConnectEndpoint(self._reactor, tcp, proxy, self._where.host, port)
            self._proxied[proxy, port] = endpoint
        return self._proxied[proxy, port]

    def _tcp(self, host: str, port: int) -> IStreamClientEndpoint:
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            return HostnameEndpoint(self._reactor, host, port, timeout=CONNECT_SECONDS)
        plain = TCP4ClientEndpoint if version == 4 else TCP6ClientEndpoint
        return plain(self._reactor, host, port, timeout=CONNECT_SECONDS)
