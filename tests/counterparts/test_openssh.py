"""OpenSSH's client against the coordinator's SSH port: a stranger, and a member who wants more."""

from __future__ import annotations

import os
import socket
from base64 import b64encode
from pathlib import Path
from shutil import which
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from tests.transports.ssh_pair import HOST_KEY, MEMBER_KEY, STRANGER_KEY, RecordingUser, public
from tunnelmesh.transports.one_port import OnePortFactory
from tunnelmesh.transports.ssh import transport
from tunnelmesh.transports.ssh.algorithms import blob_from_key
from tunnelmesh.transports.ssh.client import connect
from tunnelmesh.transports.ssh.server import ServerTransport, make_ssh_factory

HOST = "127.0.0.1"


class OpenSSHTests(TestCase):
    """What they share: a port with one member, and a way to call ``ssh``."""

    timeout = 60

    def setUp(self) -> None:
        if which("ssh") is None:
            raise SkipTest("ssh is missing: install openssh-client")
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.directory = Path(self.mktemp())
        self.directory.mkdir(mode=0o700)
        self.users: list[RecordingUser] = []
        self.servers: list[ServerTransport] = []
        self.factory = make_ssh_factory(
            reactor, HOST_KEY, lambda key: key == public(MEMBER_KEY), self.make_user
        )
        build = self.factory.buildProtocol

        def remember(addr: Any) -> Any:
            self.servers.append(build(addr))  # type: ignore[arg-type]
            return self.servers[-1]

        self.factory.buildProtocol = remember  # type: ignore[method-assign]
        self.port = self.listen(self.factory)
        self.reached: list[Protocol] = []
        self.target = self.listen(Factory.forProtocol(lambda: Reached(self.reached)))
        for name, key in (("member", MEMBER_KEY), ("stranger", STRANGER_KEY)):
            self.write_key(name, key)
        self.trust(HOST_KEY)

    def listen(self, factory: Any) -> int:
        factory.noisy = False
        port = self.reactor.listenTCP(0, factory, interface=HOST)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def make_user(self) -> RecordingUser:
        self.users.append(RecordingUser())
        return self.users[-1]

    def write_key(self, name: str, key: Any) -> None:
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        self.write(name, pem.decode())

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text)

    def trust(self, key: Any) -> None:
        """What ``ssh`` believes the port's host key to be."""
        blob = b64encode(blob_from_key(public(key))).decode()
        self.write("known_hosts", f"coordinator ssh-ed25519 {blob}\n")

    def command(self, *arguments: str, key: str = "member", port: int = 0) -> list[str]:
        """``ssh`` with nothing from this machine's own configuration."""
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "IdentityFile": self.directory.absolute() / key,
            "UserKnownHostsFile": self.directory.absolute() / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": "coordinator",
            "StrictHostKeyChecking": "yes",
            "Port": port or self.port,
        }
        command = ["-F", "none"]
        for name, value in options.items():
            # The first value of an option is the one that counts.
            if not any(argument.startswith(f"{name}=") for argument in arguments):
                command += ["-o", f"{name}={value}"]
        return [*command, *arguments]

    async def ssh(self, *arguments: str, key: str = "member", port: int = 0) -> str:
        """Run ``ssh``, which must fail, in words, within seconds; what it says."""
        out, error, code = await getProcessOutputAndValue(
            which("ssh"),
            self.command(*arguments, key=key, port=port),
            env={"PATH": os.environ["PATH"]},
        )
        self.assertEqual((out, code), (b"", 255), error)
        return str(error.decode())

    async def settled(self) -> None:
        """Every connection is over, and a peer's link still opens."""
        link: Any = await connect(
            self.reactor,
            TCP4ClientEndpoint(self.reactor, HOST, self.port),
            MEMBER_KEY,
            public(HOST_KEY),
            RecordingUser(),
        )
        link.close("done")
        while any(server.transport.connected for server in self.servers):
            await deferLater(self.reactor, 0.01)
        self.assertEqual(len(self.factory._strangers), 0)
        self.assertEqual([user.events for user in self.users[:-1]], [[]] * (len(self.users) - 1))
        self.assertEqual(self.reached, [])


class Reached(Protocol):
    """The target of forwards; being connected is already wrong."""

    def __init__(self, reached: list[Protocol]) -> None:
        self.reached = reached

    def connectionMade(self) -> None:
        self.reached.append(self)


class StrangerTests(OpenSSHTests):
    """Nobody that the coordinator knows."""

    async def test_host_key(self) -> None:
        """The pinned host key is what OpenSSH sees; another is refused by OpenSSH."""
        self.assertIn("Permission denied", await self.ssh(HOST, key="stranger"))
        self.trust(STRANGER_KEY)
        self.assertIn("Host key verification failed", await self.ssh(HOST))
        await self.settled()

    async def test_unknown_keys(self) -> None:
        """An unknown Ed25519 key, an RSA and an ECDSA key."""
        self.assertIn("Permission denied (publickey).", await self.ssh(HOST, key="stranger"))
        others = {
            "rsa": rsa.generate_private_key(65537, 2048),
            "ecdsa": ec.generate_private_key(ec.SECP256R1()),
        }
        for kind, key in others.items():
            self.write_key(kind, key)
            self.assertIn("Permission denied (publickey).", await self.ssh(HOST, key=kind))
        await self.settled()

    async def test_passwords(self) -> None:
        """Neither a password nor questions are offered."""
        for method in ("password", "keyboard-interactive", "hostbased", "gssapi-with-mic"):
            said = await self.ssh("-o", f"PreferredAuthentications={method}", HOST)
            self.assertIn("Permission denied (publickey).", said)
        await self.settled()

    async def test_weak_algorithms(self) -> None:
        """A client that insists on what is old gets no connection."""
        for option in (
            "Ciphers=aes256-cbc",
            "Ciphers=3des-cbc",
            "MACs=hmac-sha1",
            "MACs=hmac-md5",
            "KexAlgorithms=diffie-hellman-group14-sha1",
            "KexAlgorithms=ecdh-sha2-nistp256",
            "HostKeyAlgorithms=ssh-rsa",
            "HostKeyAlgorithms=ecdsa-sha2-nistp256",
        ):
            self.assertIn("Unable to negotiate", await self.ssh("-o", option, HOST), option)
        await self.settled()

    async def test_one_port(self) -> None:
        """The same behind a port that it shares with TLS."""
        port = self.listen(OnePortFactory(self.reactor, Factory(), self.factory))
        said = await self.ssh(HOST, key="stranger", port=port)
        self.assertIn("Permission denied (publickey).", said)
        self.assertIn("administratively prohibited", await self.ssh(HOST, "id", port=port))
        await self.settled()


class MemberTests(OpenSSHTests):
    """A member's key, in OpenSSH's hands: it signs in, and gets nothing else."""

    async def test_sessions(self) -> None:
        """No shell, command, subsystem or terminal."""
        for arguments in (
            (HOST,),
            (HOST, "id"),
            ("-tt", HOST),
            ("-s", HOST, "sftp"),
            ("-A", "-X", "-o", "SendEnv=LANG", HOST, "env"),
        ):
            said = await self.ssh(*arguments)
            self.assertIn("open failed: administratively prohibited", said)
        self.assertEqual(self.factory.counts["opened"], 0)
        await self.settled()

    async def test_netcat(self) -> None:
        """``-W`` reaches nothing."""
        said = await self.ssh("-W", f"{HOST}:{self.target}", HOST)
        self.assertIn("open failed: administratively prohibited", said)
        await self.settled()

    async def test_remote_forward(self) -> None:
        """``-R`` opens no port, for TCP or a socket."""
        for forward in (f"0:{HOST}:{self.target}", f"{self.directory}/s:{HOST}:{self.target}"):
            said = await self.ssh("-N", "-o", "ExitOnForwardFailure=yes", "-R", forward, HOST)
            self.assertIn("remote port forwarding failed", said)
        self.assertFalse((self.directory / "s").exists())
        await self.settled()

    async def test_local_forwards(self) -> None:
        """What is sent into ``-L`` and ``-D`` does not come out."""
        local, dynamic = free_port(), free_port()
        running: Deferred[str] = Deferred.fromCoroutine(
            self.ssh("-N", "-L", f"{local}:{HOST}:{self.target}", "-D", f"{HOST}:{dynamic}", HOST)
        )
        target = socket.inet_aton(HOST) + self.target.to_bytes(2, "big")
        await self.ask(local, b"hello")
        answer = await self.ask(dynamic, b"\5\1\0", b"\5\1\0\1" + target)
        self.assertTrue(answer in (b"\5\0", b"\5\0\5") or answer[3:4] != b"\0", answer)
        self.servers[0].end("enough")
        said = await running
        self.assertEqual(said.count("open failed: administratively prohibited"), 2)
        await self.settled()

    async def ask(self, port: int, *words: bytes) -> bytes:
        """Connect to a forward once it listens, say *words*, and wait until it hangs up."""
        endpoint = TCP4ClientEndpoint(self.reactor, HOST, port)
        for _ in range(300):
            protocol = Asking(self.reactor, words)
            try:
                await endpoint.connect(Factory.forProtocol(lambda made=protocol: made))
            except Exception:
                await deferLater(self.reactor, 0.01)
            else:
                return await protocol.done
        raise AssertionError("ssh does not listen")

    async def test_rekey(self) -> None:
        """OpenSSH's own rekeying works, and its keep-alives are answered."""
        options = ("-o", "RekeyLimit=default 1s", "-o", "ServerAliveInterval=1")
        running: Deferred[str] = Deferred.fromCoroutine(self.ssh("-N", *options, HOST))
        while not self.servers or self.servers[0].exchanges < 2:
            await deferLater(self.reactor, 0.01)
        self.servers[0].end("enough")
        self.assertIn("enough", await running)
        self.assertEqual(self.servers[0].key, public(MEMBER_KEY))
        await self.settled()

    async def test_idle(self) -> None:
        """``-N`` is sent away in time."""
        self.patch(transport, "LOGIN_SECONDS", 1.0)
        self.assertIn("not signed in within 1 s", await self.ssh("-N", HOST))
        await self.settled()


class Asking(Protocol):
    """Says its words, one for each answer, and keeps the answers."""

    def __init__(self, reactor: Any, words: tuple[bytes, ...]) -> None:
        self.reactor = reactor
        self.words = list(words)
        self.received = b""
        self.done: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.done.addTimeout(10, self.reactor)
        self.transport.write(self.words.pop(0))  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.words:
            self.transport.write(self.words.pop(0))  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(self.received)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
