"""The ways into the mesh for programs of this machine that need no network device."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from tunnelmesh.errors import ListenError
from tunnelmesh.interfaces import IStreams
from tunnelmesh.streams.entrance import Client, Entrance
from tunnelmesh.streams.http_proxy import HttpProxy
from tunnelmesh.streams.socks5 import Socks5
from tunnelmesh.wire.endpoint import Endpoint

_log = Logger()


class Proxies:
    """The SOCKS5 server and the HTTP proxy, as far as they are wanted.

    :param streams: where they lead to.
    :param networks: of the mesh.
    :param socks: the host and the port where SOCKS5 is served, or None.
    :param http: the same of the HTTP proxy.

    :ivar listen: where they are, for people, by name: ``socks`` and ``http_proxy``.
    """

    def __init__(
        self,
        reactor: Any,
        streams: IStreams,
        networks: tuple[IPv4Network, IPv6Network],
        socks: tuple[str, int] | None,
        http: tuple[str, int] | None,
    ) -> None:
        self.listen: dict[str, str] = {}
        self._reactor = reactor
        self._ports: list[IListeningPort] = []
        self._entrances: list[Entrance] = []
        self._wanted: list[tuple[str, tuple[str, int] | None, Callable[[], Client]]] = [
            ("socks", socks, lambda: Socks5(reactor, streams)),
            ("http-proxy", http, lambda: HttpProxy(reactor, streams, networks)),
        ]

    def start(self) -> None:
        """Listen.

        :raises ListenError: if a port cannot be had.
        """
        for setting, where, client in self._wanted:
            if where is not None:
                self._open(setting, where, Entrance(client))

    def stop(self) -> Deferred[Any]:
        """Listen no more, and close all connections."""
        ports, self._ports = self._ports, []
        for entrance in self._entrances:
            entrance.close()
        return gatherResults([maybeDeferred(port.stopListening) for port in ports])

    def _open(self, setting: str, where: tuple[str, int], entrance: Entrance) -> None:
        host, port = where
        try:
            opened = self._reactor.listenTCP(port, entrance, interface=host)
        except (CannotListenError, OSError) as error:
            reason = getattr(error, "socketError", error)
            raise ListenError(
                f"cannot listen on {host} port {port} ({getattr(reason, 'strerror', reason)}):"
                f" stop what uses it, or choose another --{setting}"
            ) from None
        self._ports.append(opened)
        self._entrances.append(entrance)
        at = opened.getHost()
        self.listen[setting.replace("-", "_")] = str(Endpoint(at.host, at.port))
        if not ip_address(at.host).is_loopback:
            _log.warn(
                "--{setting}: everybody who reaches {host} can use this machine's way into the"
                " mesh",
                setting=setting,
                host=at.host,
            )
