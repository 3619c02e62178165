"""One plain HTTP request through the proxy, and its answer."""

# Twisted is partly without annotations.
# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tunnelmesh.errors import DecodeError
from tunnelmesh.wire.http import Answer, Collecting, Request, end_to_end
from tunnelmesh.wire.http_body import Body

if TYPE_CHECKING:
    from tunnelmesh.streams.http_proxy import HttpProxy

SWITCHING_PROTOCOLS = 101

_OURS = (("Via", "1.1 tunnelmesh"), ("Connection", "close"))
"""What we add to every head."""


@implementer(IHalfCloseableProtocol)
class Exchange(Protocol):
    """The connection to the server.

    Both connections serve this one request and are closed after it, so that nothing of another
    request can get to this server. Each side is read as fast as the other one takes it.

    :param client: who asks.
    :param request: its head, with the target that the server is asked for.
    :param body: what follows the head.
    :param first: what came after the head so far.
    :raises DecodeError: if that is malformed.

    :ivar asking: what the server is to get first.
    """

    transport: Any

    def __init__(self, client: HttpProxy, request: Request, body: Body, first: bytes) -> None:
        passed = replace(request, fields=end_to_end(request.fields) + _OURS)
        self.asking = passed.encode() + body.receive(first)
        self._client: HttpProxy | None = client
        self._version = request.version
        self._body = body
        self._collecting: Collecting | None = Collecting()  # until the answer's head is there

    @property
    def answered(self) -> bool:
        """Whether the answer's head has been passed on."""
        return self._collecting is None

    def connectionMade(self) -> None:
        """Let each side hold back the other."""
        assert self._client is not None
        self.transport.registerProducer(self._client.transport, True)
        self._client.transport.registerProducer(self.transport, True)

    def asked(self, data: bytes) -> None:
        """More has come from who asks; what does not belong to the request is dropped.

        :raises DecodeError: if the body is malformed.
        """
        if self._client is not None:
            self.transport.write(self._body.receive(data))

    def dataReceived(self, data: bytes) -> None:
        """More has come from the server."""
        if self._client is None:
            return
        if self._collecting is None:
            self._client.transport.write(data)
            return
        try:
            self._collect(self._client, self._collecting, data)
        except DecodeError as error:
            self._client.refuse(502, f"The server's answer is {error}.")

    def readConnectionLost(self) -> None:
        """The server has sent all."""
        self._end(whole=True)

    def writeConnectionLost(self) -> None:
        """The server reads no more of the request; its answer may say why."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The server is gone."""
        self._end(whole=reason.check(ConnectionDone) is not None)

    def abandon(self) -> None:
        """Who asked needs no answer any more."""
        if self._leave() is not None:
            self.transport.abortConnection()

    def _end(self, whole: bool) -> None:
        client = self._leave()
        if client is None:
            return
        self.transport.loseConnection()
        if not self.answered:
            client.refuse(502, "The server closed the connection without an answer.")
        elif whole:
            client.transport.loseConnection()
        else:  # what has come would pass for all of it
            client.transport.abortConnection()

    def _leave(self) -> HttpProxy | None:
        """Separate the two connections."""
        client, self._client = self._client, None
        if client is not None:
            client.transport.unregisterProducer()
            self.transport.unregisterProducer()
        return client

    def _collect(self, client: HttpProxy, collecting: Collecting, data: bytes) -> None:
        """Pass on heads: maybe interim ones (RFC 9110 §15.2), and then the answer's own."""
        while (found := collecting.receive(data)) is not None:
            head, data = found
            answer = Answer.decode(head)
            fields = end_to_end(answer.fields)
            if answer.status == SWITCHING_PROTOCOLS:
                raise DecodeError("in another protocol")
            if answer.status >= 200:
                self._collecting = None
                whole = replace(answer, fields=fields + _OURS).encode()
                client.transport.write(whole + data)
                return
            if self._version:
                client.transport.write(replace(answer, fields=fields).encode())
            self._collecting = collecting = Collecting()
