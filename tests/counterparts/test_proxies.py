"""Links through real proxies: tinyproxy (Basic), squid (Digest), and one that opens TLS."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SkipTest

from tests.transports.links import LoopbackTestCase, reactor, until
from tunnelmesh.errors import InterceptionError, ProxyError
from tunnelmesh.interfaces import ILink
from tunnelmesh.transports.connect_proxy import ProxyConnectEndpoint
from tunnelmesh.transports.proxy_settings import Proxy
from tunnelmesh.transports.tls import certificate_chain, server_tls
from tunnelmesh.wire.frame import RELAY, SIGNAL, encode

USER, PASSWORD = "me", "secret"

DIGEST_FILE_AUTH = "/usr/lib/squid/digest_file_auth"
"""Where Debian puts squid's own check of Digest passwords."""

MERCY = 8.0
"""Seconds for a proxy to end by itself: squid takes some, and a test has twenty."""


class Ended(ProcessProtocol):
    """Keeps what a program says, and tells when it has ended."""

    def __init__(self) -> None:
        self.said = b""
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        """Keep it."""
        self.said += data

    errReceived = outReceived

    def processEnded(self, reason: object) -> None:
        """Tell."""
        self.ended.callback(None)


class ProxiesTestCase(LoopbackTestCase):
    """A coordinator on loopback, and a proxy before it."""

    def setUp(self) -> None:
        """A port for the proxy, and a directory."""
        super().setUp()
        # Readable for a proxy that changes its user, which trial's directory need not be.
        self.directory = Path(tempfile.mkdtemp(prefix="tunnelmesh-proxy-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.directory.chmod(0o755)
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        self.proxy_port = port.getHost().port
        self.freed = port.stopListening()

    async def run_proxy(self, *command: str) -> None:
        """Run a proxy until the end of the test, and wait until it listens."""
        await self.freed
        program = Ended()
        process: IProcessTransport = reactor.spawnProcess(program, command[0], command)

        def end() -> Deferred[None]:
            if not program.ended.called:
                process.signalProcess("TERM")
                # Tinyproxy waits for ever if the signal comes just before it waits.
                killing = reactor.callLater(MERCY, process.signalProcess, "KILL")
                program.ended.addBoth(lambda _: killing.active() and killing.cancel())
            return program.ended

        self.addCleanup(end)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.proxy_port)
        deadline = reactor.seconds() + 10
        while True:
            try:
                protocol = await endpoint.connect(Factory.forProtocol(Protocol))
            except ConnectError:
                if program.ended.called or reactor.seconds() > deadline:
                    raise AssertionError(program.said.decode(errors="replace")) from None
                await until(lambda: True)
            else:
                protocol.transport.loseConnection()
                return

    def through(
        self, username: str | None = None, password: str | None = None, port: int | None = None
    ) -> Deferred[ILink]:
        """Open a link through the proxy."""
        proxy = Proxy("127.0.0.1", self.proxy_port, username, password)
        tcp = TCP4ClientEndpoint(reactor, proxy.host, proxy.port)
        self.endpoint = ProxyConnectEndpoint(reactor, tcp, proxy, "127.0.0.1", port or self.port)
        return self.connect(port, endpoint=self.endpoint, proxy=str(proxy))

    async def works(self, link: ILink) -> None:
        """Frames of all sizes pass both ways."""
        self.addCleanup(self.gone)
        theirs = self.coordinator.links[-1]
        theirs.key = b"k" * 32
        for end, user in ((link, self.coordinator), (theirs, self.peer)):
            before = len(user.frames)
            frames = [(RELAY, os.urandom(100_000)), (SIGNAL, b"x")]
            for frame in frames:
                end.send(encode(*frame))
            await until(lambda user=user, before=before: len(user.frames) == before + 2)
            self.assertEqual(user.frames[before:], frames)


def needed(program: str) -> str:
    """Where a program is.

    :raises SkipTest: if it is not installed.
    """
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        raise SkipTest(f"{program} is not installed")
    return path


class TinyproxyTests(ProxiesTestCase):
    """tinyproxy, which knows Basic."""

    async def tinyproxy(self, *lines: str) -> None:
        """Run it."""
        program = needed("tinyproxy")
        settings = self.directory / "tinyproxy.conf"
        common = (f"Port {self.proxy_port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 20")
        settings.write_text("\n".join((*common, *lines, "")))
        await self.run_proxy(program, "-d", "-c", str(settings))

    async def test_open(self) -> None:
        """Without a password a link opens and says which proxy it goes through."""
        await self.tinyproxy()
        link = await self.through()
        self.assertEqual(link.proxy, f"127.0.0.1:{self.proxy_port}")
        await self.works(link)

    async def test_basic(self) -> None:
        """With a password it opens too, and the password is not in the proxy's name."""
        await self.tinyproxy(f"BasicAuth {USER} {PASSWORD}")
        link = await self.through(USER, PASSWORD)
        self.assertEqual(link.proxy, f"me@127.0.0.1:{self.proxy_port}")
        await self.works(link)

    async def test_wrong_password(self) -> None:
        """A wrong password and a missing one are told apart."""
        await self.tinyproxy(f"BasicAuth {USER} {PASSWORD}")
        problem = await self.assertFailure(self.through(USER, "wrong"), ProxyError)
        self.assertIn("does not accept the user name or the password", str(problem))
        problem = await self.assertFailure(self.through(), ProxyError)
        self.assertIn("wants a user name and a password", str(problem))

    async def test_refused(self) -> None:
        """A port that the proxy does not allow is refused with its status."""
        await self.tinyproxy("ConnectPort 443")
        problem = await self.assertFailure(self.through(), ProxyError)
        self.assertIn(f"refuses to connect to 127.0.0.1:{self.port}: 403", str(problem))

    async def test_nobody_behind(self) -> None:
        """A coordinator that does not listen is the proxy's to report."""
        await self.tinyproxy()
        free = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        port = free.getHost().port
        await free.stopListening()
        problem = await self.assertFailure(self.through(port=port), ProxyError)
        self.assertIn(f"refuses to connect to 127.0.0.1:{port}: 50", str(problem))


class SquidTests(ProxiesTestCase):
    """squid, which knows Digest."""

    async def squid(self) -> None:
        """Run it, with one user."""
        program = needed("squid")
        needed(DIGEST_FILE_AUTH)
        passwords = self.directory / "passwords"
        passwords.write_text(f"{USER}:{PASSWORD}\n")
        settings = self.directory / "squid.conf"
        settings.write_text(
            f"""
http_port 127.0.0.1:{self.proxy_port}
pid_filename {self.directory}/squid.pid
cache_log {self.directory}/cache.log
access_log none
coredump_dir {self.directory}
cache deny all
cache_mem 1 MB
memory_pools off
shutdown_lifetime 0 seconds
pinger_enable off
visible_hostname proxy.example
auth_param digest program {DIGEST_FILE_AUTH} {passwords}
auth_param digest children 1 startup=1
auth_param digest realm a proxy, with a comma
acl users proxy_auth REQUIRED
http_access allow users
http_access deny all
"""
        )
        if os.geteuid() == 0:
            user = pwd.getpwnam("proxy")
            os.chown(self.directory, user.pw_uid, user.pw_gid)
        await self.run_proxy(
            program, "-N", "-f", str(settings), "-n", f"tunnelmesh{self.proxy_port}"
        )

    async def test_digest(self) -> None:
        """A link opens with Digest; the same nonce opens the next one."""
        await self.squid()
        await self.works(await self.through(USER, PASSWORD))
        again = await self.connect(endpoint=self.endpoint, proxy="the same")
        await self.works(again)
        problem = await self.assertFailure(self.through(USER, "wrong"), ProxyError)
        self.assertIn("does not accept the user name or the password", str(problem))


class Connect(Protocol):
    """A proxy that agrees to every CONNECT and then opens TLS with a certificate of its own."""

    def dataReceived(self, data: bytes) -> None:
        """Agree, and be the server."""
        self.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
        company = certificate_chain(Ed25519PrivateKey.generate(), [], datetime.now(UTC))
        inside = Factory.forProtocol(Protocol)
        secured = TLSMemoryBIOFactory(server_tls(company), False, inside, reactor)
        server = secured.buildProtocol(None)
        self.dataReceived = server.dataReceived  # type: ignore[method-assign]
        self.connectionLost = server.connectionLost  # type: ignore[method-assign]
        server.makeConnection(self.transport)


class InterceptionTests(ProxiesTestCase):
    """A proxy that looks inside."""

    async def test_named(self) -> None:
        """It is found out, named, and told nothing."""
        await self.freed
        port = reactor.listenTCP(
            self.proxy_port, Factory.forProtocol(Connect), interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        problem = await self.assertFailure(self.through(USER, PASSWORD), InterceptionError)
        for part in (f"the proxy me@127.0.0.1:{self.proxy_port} opens TLS", "CN=", "exempted"):
            self.assertIn(part, str(problem))
        self.assertEqual(self.coordinator.links, [])
