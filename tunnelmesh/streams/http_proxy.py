"""An HTTP proxy into the mesh, for browsers and everything else that can use one.

It leads to peers only. ``CONNECT`` and plain ``http://`` requests go through; what a web page could
make a browser ask this port directly, as if it were a web server, is answered with 404, except for
the file that tells browsers what to send here (:mod:`tunnelmesh.streams.pac`).
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from tunnelmesh.errors import DecodeError, TunnelMeshError
from tunnelmesh.interfaces import IStreams
from tunnelmesh.streams.entrance import Client
from tunnelmesh.streams.exchange import Exchange
from tunnelmesh.streams.pac import MEDIA_TYPE, pac
from tunnelmesh.streams.page import page, status_of
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.http import Collecting, Request, split_absolute, split_authority, values
from tunnelmesh.wire.http_body import body_of

PAC_PATH = "/proxy.pac"

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"

_ABOUT = f"""\
This is TunnelMesh's HTTP proxy, not a web server. Tell your browser or your program
to use it as a proxy; {PAC_PATH} is a file that tells a browser what to send here.
"""


class HttpProxy(Client):
    """One connection of a program. It is closed after one request.

    :param networks: of the mesh.
    """

    def __init__(
        self, reactor: Any, streams: IStreams, networks: tuple[IPv4Network, IPv6Network]
    ) -> None:
        super().__init__(reactor, streams)
        self._networks = networks
        self._collecting: Collecting | None = Collecting()
        self._exchange: Exchange | None = None

    def dataReceived(self, data: bytes) -> None:
        """More has come from the program."""
        try:
            if self._exchange is not None:
                self._exchange.asked(data)
            elif self._collecting is not None:
                self._collect(self._collecting, data)
        except DecodeError as error:
            if self._exchange is not None and self._exchange.answered:
                self.transport.abortConnection()
            else:
                self.refuse(400, f"This request cannot be passed on: {error}.")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has gone."""
        super().connectionLost(reason)
        if self._exchange is not None:
            self._exchange.abandon()

    def refuse(self, status: int, text: str) -> None:
        """Tell people why not."""
        self._say(page(status, text + "\n"))

    def _collect(self, collecting: Collecting, data: bytes) -> None:
        if not collecting.begun and not data[:1].isalpha():
            self.transport.abortConnection()  # it speaks something else, and may never be done
            return
        found = collecting.receive(data)
        if found is None:
            return
        self._collecting = None
        request = Request.decode(found[0])
        if request.method == "CONNECT":
            host, port = split_authority(request.target)
            self.do(self._tunnel(host, port, found[1]))
        elif request.target.startswith("/"):
            self._serve(request)
        else:
            host, port, authority, target = split_absolute(request.target)
            others = tuple(each for each in request.fields if each[0].lower() != "host")
            passed = replace(request, target=target, fields=(("Host", authority), *others))
            exchange = Exchange(self, passed, body_of(request), found[1])
            self.do(self._forward(host, port, exchange))

    async def _tunnel(self, host: str, port: int, rest: bytes) -> None:
        try:
            await self.join(host, port, ESTABLISHED, rest)
        except TunnelMeshError as error:
            self._refuse_stream(error)

    async def _forward(self, host: str, port: int, exchange: Exchange) -> None:
        try:
            await self.open(host, port, exchange, exchange.asking)
        except TunnelMeshError as error:
            self._refuse_stream(error)
        else:
            self._exchange = exchange
            self.transport.resumeProducing()

    def _refuse_stream(self, error: TunnelMeshError) -> None:
        self.refuse(status_of(error), f"{error}\nThis proxy leads only into the mesh.")

    def _serve(self, request: Request) -> None:
        if request.target == PAC_PATH and request.method == "GET" and _is_meant(request):
            here = self.transport.getHost()
            proxy = str(Endpoint(here.host, here.port))
            self._say(page(200, pac(proxy, *self._networks), MEDIA_TYPE))
        else:
            self._say(page(404, _ABOUT))

    def _say(self, answer: bytes) -> None:
        """Say a last thing. The program may be sending still, and would not read what we said if
        the connection were reset; so it has some time to go by itself."""
        self._collecting = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()
        self.transport.resumeProducing()
        self.transport.write(answer)
        self.transport.loseWriteConnection()
        self.hurry()


def _is_meant(request: Request) -> bool:
    """Whether this machine was asked by an address, or as ``localhost``: a page out there whose
    name leads here would ask by that name."""
    try:
        host, _ = split_authority(values(request.fields, "host")[0], 80)
        return host == "localhost" or bool(ip_address(host))
    except (DecodeError, IndexError, ValueError):
        return False
