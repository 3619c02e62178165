"""A machine of the simulated internet that speaks to a coordinator, and does no more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.web.client import Agent, FileBodyProducer, readBody
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from tunnelmesh.identity import Identity
from tunnelmesh.interfaces import ILink, ILinkUser
from tunnelmesh.transports.ssh import client as ssh
from tunnelmesh.transports.tls import client_tls
from tunnelmesh.transports.websocket import client as websocket
from tunnelmesh.wire import enrol, frame, schema, signal
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import HOST, Candidate, Challenge, Describe, Ping, Pong, SignIn, Welcome
from tunnelmesh.wire.token import Token


@implementer(IPolicyForHTTPS)
class _Policy:
    """Whom :class:`~twisted.web.client.Agent` is to believe."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        return client_tls(self._token.host, self._token.key)


@implementer(ILinkUser)
class Machine:
    """Enrols, signs in, describes itself, and remembers what it hears.

    :ivar heard: (when, message) of every signal.
    :ivar relayed: (source, datagrams) of every relayed batch.
    :ivar lost: why its link was lost, or None.
    """

    def __init__(self, host: Any, token: Token, name: str) -> None:
        self.identity = Identity.generate()
        self.heard: list[tuple[float, signal.Signal]] = []
        self.relayed: list[tuple[bytes, list[bytes]]] = []
        self.lost: str | None = None
        self.link: ILink | None = None
        self._host = host
        self._token = token
        self._name = name

    def enrol(self) -> Deferred[Any]:
        """Ask to be let in; the result is the answer."""
        token = self._token
        text = enrol.enrol_text(token.key, token.secret, self._name)
        asked = enrol.Enrol(
            token.secret, self._name, self.identity.public_key, self.identity.sign(text)
        )

        async def post() -> object:
            url = f"https://{token.host}:{token.https_port}{enrol.PATH}".encode()
            body = FileBodyProducer(BytesIO(json.dumps(schema.dump(asked)).encode()))
            agent = Agent(self._host, _Policy(token))
            response = await agent.request(b"POST", url, bodyProducer=body)
            answer = json.loads(await readBody(response))
            return schema.load(
                enrol.Enrolled if response.code == 200 else enrol.NotEnrolled, answer
            )

        return Deferred.fromCoroutine(post())

    def open(self, kind: str) -> Deferred[ILink]:
        """Open a link of that kind."""
        token = self._token
        port = token.ssh_port if kind == "ssh" else token.https_port
        endpoint = TCP4ClientEndpoint(self._host, token.host, port)
        if kind == "ssh":
            return ssh.connect(self._host, endpoint, self.identity.private_key, token.key, self)
        return websocket.connect(self._host, endpoint, token.host, port, self, pin=token.key)

    def say(self, message: signal.Signal) -> None:
        """Send a signal."""
        assert self.link is not None
        self.link.send(signal.encode(message))

    def signals(self, cls: type[signal.Signal]) -> list[Any]:
        """The signals of that class that were heard."""
        return [message for _, message in self.heard if isinstance(message, cls)]

    def link_opened(self, link: ILink) -> None:
        self.link = link
        self.lost = None
        if link.kind == "ssh":
            self.say(SignIn(self.identity.public_key, b""))

    def frames_received(self, link: ILink, frames: Sequence[tuple[int, bytes]]) -> None:
        for kind, body in frames:
            if kind == frame.RELAY:
                self.relayed.append(frame.decode_relay(body))
                continue
            message = signal.decode(body)
            assert message is not None
            self.heard.append((self._host.seconds(), message))
            if isinstance(message, Challenge) and link.kind == "websocket":
                text = signal.sign_in_text(message.nonce, self._token.key)
                self.say(SignIn(self.identity.public_key, self.identity.sign(text)))
            elif isinstance(message, Welcome):
                address = Endpoint(self._host.addresses[0], 1)
                self.say(Describe((Candidate(HOST, address),)))
            elif isinstance(message, Ping):
                self.say(Pong(message.token))

    def link_paused(self, link: ILink) -> None:
        pass

    def link_resumed(self, link: ILink) -> None:
        pass

    def link_lost(self, link: ILink, reason: str) -> None:
        self.lost = reason
