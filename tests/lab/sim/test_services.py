"""Twisted's own services, unchanged, on the simulated internet."""

from __future__ import annotations

from typing import Any

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint, wrapClientTLS
from twisted.internet.ssl import optionsForClientTLS, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, FileBodyProducer, readBody
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests.lab.sim.parts import certificate
from tunnelmesh.lab.sim import Host, Internet

NAME = "coordinator.example"
ADDRESS = "203.0.113.10"


class _Upper(Resource):
    isLeaf = True

    def render_POST(self, request: Request) -> int:
        request.write(request.content.read().upper())
        request.finish()
        return NOT_DONE_YET


class _EchoSocket(WebSocketServerProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)


class _Talk(WebSocketClientProtocol):
    def onOpen(self) -> None:
        self.factory.opened = self

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.messages.append(payload)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        self.factory.closed = wasClean


class ServicesTests(SynchronousTestCase):
    """TLS, HTTP, WebSocket and SSH need nothing but a simulated host as their reactor."""

    def setUp(self) -> None:
        self.internet = Internet(seed=7)
        self.internet.install(self)
        self.internet.names[NAME] = (ADDRESS,)
        self.server = self.internet.host(ADDRESS, name="coordinator")
        self.laptop = self.internet.nat("198.51.100.1").host(name="laptop")

    def listen_tls(self, factory: Any) -> Any:
        """Serve *factory* over TLS on port 443; returns the certificate to trust."""
        private, public = certificate(NAME)
        wrapped = TLSMemoryBIOFactory(private.options(), False, factory, clock=self.server)
        TCP4ServerEndpoint(self.server, 443).listen(wrapped)
        return trustRootFromCertificates([public])

    def result_of(self, deferred: Deferred[Any], limit: float = 10) -> Any:
        """Let time pass until *deferred* has fired."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        self.internet.run_until(lambda: results, limit)
        deferred.addCallback(lambda _: results[0])
        return self.successResultOf(deferred)

    def test_https(self) -> None:
        """twisted.web's Agent posts to its Site over verified TLS, and reads the answer."""
        from io import BytesIO

        trust = self.listen_tls(Site(_Upper(), reactor=self.server))
        agent = Agent(self.laptop, BrowserLikePolicyForHTTPS(trust))
        body = FileBodyProducer(BytesIO(b"abcdefgh" * 50_000))
        url = f"https://{NAME}/".encode()
        response = self.result_of(agent.request(b"POST", url, bodyProducer=body))
        self.assertEqual(self.result_of(readBody(response)), b"ABCDEFGH" * 50_000)

    def test_untrusted_certificate(self) -> None:
        """A certificate of somebody else is refused: the TLS is real."""
        self.listen_tls(Site(_Upper(), reactor=self.server))
        _, other = certificate(NAME)
        policy = BrowserLikePolicyForHTTPS(trustRootFromCertificates([other]))
        outcome: list[Any] = []
        request = Agent(self.laptop, policy).request(b"GET", f"https://{NAME}/".encode())
        request.addErrback(outcome.append)
        self.internet.run_until(lambda: outcome, 10)
        self.assertIn("certificate verify failed", str(outcome[0].value.reasons))
