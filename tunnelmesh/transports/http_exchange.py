"""One question to a web server, and its answer, by a connection of their own (RFC 9112).

Twisted's client for the web can do far more, and would be a good part of a peer's start and of its
memory for the one question that it asks: whether it may join.
"""

# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse, IncompleteRead, parse_headers
from io import BytesIO
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

_LAST_CHUNK = b"0\r\n\r\n"


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes


async def exchange(endpoint: IStreamClientEndpoint, request: bytes, most: int) -> Answer:
    """Connect, ask, and return the answer. Give it a timeout: it has none.

    :param request: see :func:`written`.
    :param most: bytes of an answer that are taken, its head included.
    :raises HTTPException: what answers does not speak HTTP, says too much, or stops in the middle.
    :raises Exception: whatever the endpoint fails with.
    """
    asking = _Asking(request, most)
    factory = Factory.forProtocol(lambda: asking)
    factory.noisy = False
    await endpoint.connect(factory)
    return await asking.answer


def written(
    method: str, target: str, host: str, headers: Mapping[str, str], body: bytes = b""
) -> bytes:
    """A request.

    :param target: path and query.
    :param host: with the port.
    :raises ValueError: if one of them would be more than it should be.
    """
    fields = {"Host": host, "Connection": "close", **headers}
    if body:
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields)]
    if " " in target or not all(line.isascii() and line.isprintable() for line in lines):
        raise ValueError(f"{target!r} cannot be asked for")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def read(received: bytes) -> Answer:
    """Read all that came.

    :raises HTTPException: if that is no answer, or not all of one.
    """
    response = HTTPResponse(_Received(received))  # type: ignore[arg-type]
    try:
        response.begin()
    except HTTPException:
        raise HTTPException("what answers there does not speak HTTP") from None
    return Answer(response.status, response.read())


class _Received:
    """What :class:`HTTPResponse` takes for a socket."""

    def __init__(self, received: bytes) -> None:
        self._received = received

    def makefile(self, mode: str) -> BytesIO:
        return BytesIO(self._received)


class _Asking(Protocol):
    """Sends the request, and takes what comes until the answer is whole or the connection ends."""

    transport: Any

    def __init__(self, request: bytes, most: int) -> None:
        self.answer: Deferred[Answer] = Deferred(lambda _: self.transport.abortConnection())
        self._request = request
        self._most = most
        self._received = bytearray()
        self._length: int | None = None
        self._head_read = False

    def connectionMade(self) -> None:
        """Ask."""
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """A part of the answer."""
        if self.answer.called:
            return
        self._received += data
        try:
            if len(self._received) > self._most:
                raise HTTPException("its answer is too long")
            if self._may_be_whole():
                self._end(read(bytes(self._received)))
        except IncompleteRead:
            pass  # what ended like the last chunk was none
        except (HTTPException, ValueError) as error:
            self._end(Failure(error))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """What has come is all there is; that can be what ends an answer."""
        if self.answer.called:
            return
        if not reason.check(ConnectionDone) or not self._received:
            self._end(reason)
            return
        try:
            self._end(read(bytes(self._received)))
        except IncompleteRead:
            self._end(Failure(HTTPException("its answer stops in the middle")))
        except (HTTPException, ValueError) as error:
            self._end(Failure(error))

    def _may_be_whole(self) -> bool:
        """Whether it is worth reading already: some servers leave the connection open."""
        if not self._head_read:
            head, blank, _ = self._received.partition(b"\r\n\r\n")
            if not blank:
                return False
            self._head_read = True
            fields = parse_headers(BytesIO(head.partition(b"\r\n")[2] + blank))
            length = fields.get("Content-Length", "")
            if length.isascii() and length.isdigit():
                self._length = len(head) + len(blank) + int(length[:9])
        if self._length is not None:
            return len(self._received) >= self._length
        return self._received.endswith(_LAST_CHUNK)

    def _end(self, result: Answer | Failure) -> None:
        self.transport.abortConnection()
        if isinstance(result, Failure):
            self.answer.errback(result)
        else:
            self.answer.callback(result)
