"""A visitor of the coordinator's web site who can send anything, as no browser would."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from tunnelmesh.transports.tls import client_tls


@dataclass
class Answer:
    """An HTTP answer.

    :ivar headers: by name in lower case.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)

    @property
    def cookie(self) -> str:
        """The cookie that is to be sent from now on."""
        return self.headers["set-cookie"].partition(";")[0]


class _Conversation(Protocol):
    def __init__(self) -> None:
        self.heard = b""
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.lost.callback(None)


class Visitor:
    """Knows where the coordinator is, and its key."""

    def __init__(self, reactor: Any, port: int, key: bytes) -> None:
        self.own = f"https://127.0.0.1:{port}"
        self._reactor = reactor
        self._port = port
        self._key = key

    async def connect(self, text: str) -> Any:
        """Send something; the conversation goes on."""
        endpoint = wrapClientTLS(
            client_tls("127.0.0.1", self._key),
            TCP4ClientEndpoint(self._reactor, "127.0.0.1", self._port),
        )
        talk: Any = await endpoint.connect(Factory.forProtocol(_Conversation))
        talk.transport.write(text.encode())
        return talk

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Ask for a page; underscores in the names of headers stand for hyphens."""
        lines = [f"{method} /dashboard/{path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += ["Connection: close", f"Content-Length: {len(body)}", "", ""]
        talk = await self.connect("\r\n".join(lines) + body.decode())
        await talk.lost
        head, _, content = talk.heard.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        pairs = (line.partition(": ") for line in rest)
        found = {name.lower(): value for name, _, value in pairs}
        return Answer(int(first.split()[1]), found, content)

    async def post(self, path: str, said: Any = None, **headers: str) -> Answer:
        """As the dashboard's own page does."""
        own = {"Origin": self.own, "Content_Type": "application/json"} | headers
        return await self.ask("POST", path, json.dumps(said).encode(), **own)

    async def upgrade(self, **headers: str) -> tuple[int, Any]:
        """Ask for the WebSocket: the status, and the conversation."""
        lines = [
            "GET /dashboard/live HTTP/1.1",
            f"Host: 127.0.0.1:{self._port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        talk = await self.connect("\r\n".join([*lines, "", ""]))
        end = self._reactor.seconds() + 5
        while b"\r\n\r\n" not in talk.heard:
            if self._reactor.seconds() > end:
                raise AssertionError("no answer")
            await _moment(self._reactor)
        return int(talk.heard.split()[1]), talk


async def _moment(reactor: Any) -> None:
    passed: Deferred[None] = Deferred()
    reactor.callLater(0.005, passed.callback, None)
    await passed
