"""Twisted's own services, unchanged, on the simulated internet."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.avatar import ConchUser
from twisted.conch.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from twisted.conch.interfaces import IConchUser
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.conch.ssh.userauth import SSHUserAuthClient
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.ssl import optionsForClientTLS, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, FileBodyProducer, readBody
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from tests.lab.sim.parts import certificate
from tunnelmesh.lab.sim import Internet

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


class _Session(SSHChannel):
    name = b"session"

    def channelOpen(self, specificData: bytes) -> None:
        self.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        self.conn.transport.received += data


class _Answering(SSHChannel):
    def dataReceived(self, data: bytes) -> None:
        self.write(data + b" from the other end")


@implementer(IRealm)
class _Realm:
    def requestAvatar(self, avatarId: bytes, mind: object, *interfaces: Any) -> Any:
        avatar = ConchUser()
        avatar.channelLookup[b"session"] = _Answering
        return IConchUser, avatar, lambda: None


class _Connection(SSHConnection):
    def serviceStarted(self) -> None:
        self.openChannel(_Session(conn=self))


class _SignIn(SSHUserAuthClient):
    def __init__(self, key: Key, instance: SSHConnection) -> None:
        super().__init__(b"peer", instance)
        self._key = key

    def getPublicKey(self) -> Key:
        return self._key.public()

    def getPrivateKey(self) -> Deferred[Key]:
        return succeed(self._key)


class _SSHClient(SSHClientTransport):
    def __init__(self, key: Key) -> None:
        self._key = key
        self.received = bytearray()

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[bool]:
        return succeed(True)

    def connectionSecure(self) -> None:
        self.requestService(_SignIn(self._key, _Connection()))


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

    def test_websocket(self) -> None:
        """An autobahn WebSocket over TLS echoes, pings on the simulated clock, and closes."""
        server = WebSocketServerFactory()
        server.protocol = _EchoSocket
        trust = self.listen_tls(server)
        client = WebSocketClientFactory(f"wss://{NAME}:443/", reactor=self.laptop)
        client.protocol = _Talk
        client.setProtocolOptions(autoPingInterval=5, autoPingTimeout=2)
        client.messages, client.opened, client.closed = [], None, None
        endpoint = wrapClientTLS(
            optionsForClientTLS(NAME, trustRoot=trust),
            HostnameEndpoint(self.laptop, NAME, 443),
            clock=self.laptop,
        )
        self.result_of(endpoint.connect(client))
        self.internet.run_until(lambda: client.opened, 5)
        client.opened.sendMessage(b"x" * 100_000, True)
        self.internet.run_until(lambda: client.messages, 5)
        self.assertEqual(client.messages, [b"x" * 100_000])
        self.internet.run(60)
        self.assertIsNone(client.closed, "pings were not answered in time")
        client.opened.sendClose()
        self.internet.run_until(lambda: client.closed is not None, 5)
        self.assertTrue(client.closed)

    def test_websocket_notices_a_dead_line(self) -> None:
        """Autobahn's ping timeout runs on the simulated clock too."""
        server = WebSocketServerFactory()
        server.protocol = _EchoSocket
        self.server.listenTCP(80, server)
        client = WebSocketClientFactory(f"ws://{ADDRESS}:80/", reactor=self.laptop)
        client.protocol = _Talk
        client.setProtocolOptions(autoPingInterval=5, autoPingTimeout=2)
        client.messages, client.opened, client.closed = [], None, None
        self.laptop.connectTCP(ADDRESS, 80, client)
        self.internet.run_until(lambda: client.opened, 5)
        self.server.crash()
        took = self.internet.run_until(lambda: client.closed is not None, 30)
        self.assertLess(took, 10)

    def test_ssh(self) -> None:
        """A conch client signs in with a key and gets an answer over a channel."""
        client_key = Key(Ed25519PrivateKey.generate())
        host_key = Key(Ed25519PrivateKey.generate())
        factory = SSHFactory()
        factory.publicKeys = factory.privateKeys = {host_key.sshType(): host_key}
        factory.getPrimes = dict
        factory.portal = Portal(
            _Realm(), [SSHPublicKeyChecker(InMemorySSHKeyDB({b"peer": [client_key.public()]}))]
        )
        self.server.listenTCP(2222, factory)
        transport = _SSHClient(client_key)
        endpoint = HostnameEndpoint(self.laptop, NAME, 2222)
        self.result_of(connectProtocol(endpoint, transport))
        self.internet.run_until(lambda: transport.received, 10)
        self.assertEqual(bytes(transport.received), b"hello from the other end")
        transport.loseConnection()
        self.internet.run(1)
        self.assertEqual(self.server.getDelayedCalls(), [])
