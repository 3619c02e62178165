"""The control socket, asked as commands ask it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from stat import S_IMODE
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from tunnelmesh.control import FILE_NAME, ControlServer, Query
from tunnelmesh.errors import ListenError, UnknownPeerError


@implementer(IAgentEndpointFactory)
class _Socket:
    """Leads every request to one Unix socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def endpointForURI(self, uri: object) -> UNIXClientEndpoint:
        return UNIXClientEndpoint(reactor, str(self._path))


class _Command(Protocol):
    """Hears all that is said to it."""

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: object = None) -> None:
        self.ended.callback(None)


class ControlTestCase(TestCase):
    """A socket in a short folder: its path may have 107 bytes."""

    def setUp(self) -> None:
        folder = Path("/tmp", f"tm-{os.getpid()}-{id(self):x}")
        folder.mkdir(mode=0o700)
        self.addCleanup(folder.rmdir)
        self.path = folder / FILE_NAME
        self.addCleanup(self.path.unlink, missing_ok=True)

    def start(self, routes: dict[str, Any]) -> ControlServer:
        """Listen, until the end of the test."""
        server = ControlServer(reactor, self.path, routes)
        server.start()
        self.addCleanup(server.stop)
        return server

    async def ask(self, target: str, method: bytes = b"GET") -> tuple[int, list[Any]]:
        """Status of an answer, and its lines."""
        agent = Agent.usingEndpointFactory(reactor, _Socket(self.path))
        response = await agent.request(method, f"http://control{target}".encode())
        body = await readBody(response)
        return response.code, [json.loads(line) for line in body.splitlines()]


class AnswerTests(ControlTestCase):
    """Questions and answers."""

    async def test_value(self) -> None:
        """A question with one answer, and parameters."""

        def status(query: Query) -> dict[str, str]:
            return {"role": "peer", **query}

        self.start({"/status": status})
        answer = await self.ask("/status?peer=caf%C3%A9&peer=home&x=")
        self.assertEqual(answer, (200, [{"role": "peer", "peer": "home", "x": ""}]))

    async def test_changes(self) -> None:
        """What changes something is not done by asking, nor asked by doing."""
        done: list[Query] = []

        def revoke(query: Query) -> dict[str, int]:
            done.append(query)
            return {"done": len(done)}

        self.start({"POST /revoke": revoke, "/status": lambda _: {}})
        self.assertEqual((await self.ask("/revoke?name=home"))[0], 404)
        self.assertEqual((await self.ask("/POST%20/revoke"))[0], 404)
        self.assertEqual((await self.ask("/status", b"POST"))[0], 404)
        self.assertEqual(done, [])
        answer = await self.ask("/revoke?name=home", b"POST")
        self.assertEqual((answer, done), ((200, [{"done": 1}]), [{"name": "home"}]))

    async def test_promise(self) -> None:
        """An answer that takes a while."""

        async def netcheck(_: Query) -> dict[str, int]:
            await deferLater(reactor, 0)
            return {"n": 1}

        self.start({"/netcheck": netcheck})
        self.assertEqual(await self.ask("/netcheck"), (200, [{"n": 1}]))

    async def test_lines(self) -> None:
        """An answer that comes bit by bit."""

        async def ping(_: Query) -> AsyncIterator[dict[str, int]]:
            for number in range(3):
                await deferLater(reactor, 0)
                yield {"seq": number}

        self.start({"/ping": ping})
        self.assertEqual(await self.ask("/ping"), (200, [{"seq": n} for n in range(3)]))

    async def test_cannot(self) -> None:
        """What cannot be done is told with status 400, before or after the first line."""

        def unknown(_: Query) -> dict[str, str]:
            raise UnknownPeerError("there is no peer called x")

        async def later(_: Query) -> AsyncIterator[dict[str, int]]:
            yield {"seq": 1}
            raise UnknownPeerError("it has gone")

        self.start({"/unknown": unknown, "/later": later})
        told = [{"error": "there is no peer called x"}]
        self.assertEqual(await self.ask("/unknown"), (400, told))
        self.assertEqual(await self.ask("/later"), (200, [{"seq": 1}, {"error": "it has gone"}]))

    async def test_nothing_there(self) -> None:
        """A question that nobody knows has status 404."""
        self.start({})
        self.assertEqual((await self.ask("/nothing"))[0], 404)

    async def test_our_own_fault(self) -> None:
        """A fault in the program is logged, and told in one line."""

        def broken(_: Query) -> dict[str, int]:
            return {"n": 1 // 0}

        self.start({"/broken": broken})
        status, (answer,) = await self.ask("/broken")
        self.assertEqual(status, 500)
        self.assertIn("ZeroDivisionError", answer["error"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_command_interrupted(self) -> None:
        """A question is given up when the command that asked it is gone."""
        ended: Deferred[None] = Deferred()

        async def ping(_: Query) -> AsyncIterator[dict[str, int]]:
            try:
                while True:
                    yield {"seq": 1}
                    await deferLater(reactor, 0.001)
            finally:
                ended.callback(None)

        self.start({"/ping": ping})
        command = socket.socket(socket.AF_UNIX)
        command.connect(str(self.path))
        command.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        await deferLater(reactor, 0.01)
        command.close()
        await ended.addTimeout(5, reactor)

    async def test_pieces(self) -> None:
        """A question may come in pieces; what follows it, and the rest of a body, is not read."""
        self.start({"/status": lambda _: {"n": 1}})
        heard = await self.say(
            b"GET /sta", b"tus HTTP/1.0\r\nX: y\r\nContent-Length: 3\r\n", b"\r\nGET", b" /"
        )
        self.assertIn(b"HTTP/1.1 200 OK\r\n", heard)
        self.assertEqual(heard.count(b'{"n": 1}\n'), 1)

    async def test_nonsense(self) -> None:
        """What is no question is not answered, and neither is one that never ends."""
        self.start({"/status": lambda _: {"n": 1}})
        for said in b"SSH-2.0-x\r\n\r\n", b"GET /" + b"x" * (1 << 17):
            self.assertEqual(await self.say(said), b"")

    async def say(self, *parts: bytes) -> bytes:
        """What comes back, until the end, for bytes that are sent as they are."""
        command = _Command()
        await connectProtocol(UNIXClientEndpoint(reactor, str(self.path)), command)
        for part in parts:
            command.transport.write(part)
            await deferLater(reactor, 0.005)
        await command.ended.addTimeout(5, reactor)
        return command.heard


class SocketTests(ControlTestCase):
    """The socket itself."""

    def test_private(self) -> None:
        """Only its owner may open it, whatever the umask is."""
        mask = os.umask(0)
        self.addCleanup(os.umask, mask)
        self.start({})
        self.assertEqual(S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(os.umask(0), 0)

    async def test_removed(self) -> None:
        """It is gone after stopping."""
        await self.start({}).stop()
        self.assertFalse(self.path.exists())

    def test_left_by_the_dead(self) -> None:
        """A socket that a killed process left is replaced."""
        program = (
            f"import os, socket; s = socket.socket(socket.AF_UNIX); s.bind({str(self.path)!r})"
        )
        subprocess.run([sys.executable, "-c", f"{program}; s.listen(); os._exit(9)"], check=False)
        self.assertTrue(self.path.exists())
        self.start({})

    def test_already_running(self) -> None:
        """A socket that is answered is left alone, and the message says what to do."""
        self.start({})
        error = self.assertRaises(ListenError, ControlServer(reactor, self.path, {}).start)
        self.assertIn("already running", str(error))
        self.assertIn("--state-dir", str(error))

    def test_impossible(self) -> None:
        """A path that is too long, or where there is no folder, is one clear line."""
        for path in (self.path.parent / "gone" / FILE_NAME, self.path.parent / ("x" * 120)):
            error = self.assertRaises(ListenError, ControlServer(reactor, path, {}).start)
            self.assertIn(f"cannot listen on {path}", str(error))

    def test_simulated_machine(self) -> None:
        """A machine without Unix sockets has no control socket, and no trouble."""
        server = ControlServer(Clock(), self.path, {})
        server.start()
        self.successResultOf(server.stop())
        self.assertFalse(self.path.exists())
