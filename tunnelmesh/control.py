"""The control socket: how commands ask the service that runs on this machine.

HTTP with JSON over a Unix socket that only its owner may open, so that ``curl --unix-socket`` can
ask too. ``GET /status`` has one JSON value as its answer; a question that takes a while, such as
``/ping?peer=NAME``, is answered in lines of JSON as they come. What cannot be done has status 400,
and an object with one key ``error``; if that happens after the first line, it is the last line.
"""

# Twisted is partly without annotations.
# mypy: untyped-calls-exclude=twisted

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from inspect import isawaitable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorUNIX
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from tunnelmesh.errors import DecodeError, ListenError, TunnelMeshError
from tunnelmesh.wire.http import Answer as Head
from tunnelmesh.wire.http import Collecting, Request

FILE_NAME = "control.sock"
"""The socket's name inside the state directory."""

Query = dict[str, str]
Answer = dict[str, Any] | list[Any]
Route = Callable[[Query], Answer | Awaitable[Answer] | AsyncIterator[dict[str, Any]]]

_log = Logger()


class ControlServer:
    """Listens on a control socket.

    On a reactor without Unix sockets, which a simulated machine has, it does nothing.

    :param path: the socket. What a dead process left there is replaced.
    :param routes: what can be asked, by path, after ``POST`` and a space where it changes
        something: each gets the query's parameters and returns a JSON value, a promise of one, or
        an iterator of objects.
    """

    def __init__(self, reactor: Any, path: Path, routes: Mapping[str, Route]) -> None:
        self._reactor = reactor
        self._path = path
        self._factory: Any = Factory.forProtocol(lambda: _Question(routes))
        self._factory.noisy = False
        self._port: IListeningPort | None = None

    def start(self) -> None:
        """Listen.

        :raises ListenError: if a service answers there already, or the socket cannot be made.
        """
        if not IReactorUNIX.providedBy(self._reactor):
            return
        if _answers(self._path):
            raise ListenError(
                f"TunnelMesh is already running with the state directory {self._path.parent}:"
                " stop it, or give this one another --state-dir"
            )
        mask = os.umask(0o177)
        try:
            self._path.unlink(missing_ok=True)
            self._port = self._reactor.listenUNIX(str(self._path), self._factory, mode=0o600)
        except (CannotListenError, OSError) as error:
            self._factory.doStop()  # Twisted starts it before it knows that it can listen
            reason = getattr(error, "socketError", error)
            raise ListenError(f"cannot listen on {self._path}: {reason}") from None
        finally:
            os.umask(mask)

    def stop(self) -> Deferred[None]:
        """Stop listening, and remove the socket."""
        port, self._port = self._port, None
        stopping = None if port is None else port.stopListening()
        return succeed(None) if stopping is None else stopping


def stopping(reactor: Any, role: str) -> Route:
    """How ``tunnelmesh down`` is answered: the process ends, and with it the answer."""

    async def stop(_: Query) -> AsyncIterator[dict[str, Any]]:
        reactor.callLater(0, reactor.stop)
        yield {"role": role, "pid": os.getpid()}
        await Deferred()

    return stop


class _Question(Protocol):
    """One connection, with one question.

    HTTP as far as our own commands and curl need it: twisted.web would be a part of every peer's
    start, and of its memory, for this alone.
    """

    transport: Any

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = routes
        self._head = Collecting()
        self._answering: Deferred[None] | None = None

    def dataReceived(self, data: bytes) -> None:
        """A part of the question; what follows its head is of no use."""
        if self._answering is not None:
            return
        try:
            whole = self._head.receive(data)
            if whole is not None:
                self._answering = Deferred.fromCoroutine(self._answer(Request.decode(whole[0])))
                self._answering.addErrback(lambda failure: failure.trap(CancelledError))
        except DecodeError:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The command is gone: stop asking."""
        if self._answering is not None:
            self._answering.cancel()

    async def _answer(self, request: Request) -> None:
        path, _, query = request.target.partition("?")
        route = self._routes.get(path if request.method == "GET" else f"{request.method} {path}")
        sending = _Sending(self.transport)
        try:
            if route is None:
                raise _UnknownPathError(f"there is nothing at {path}")
            answer = route(dict(parse_qsl(query, keep_blank_values=True)))
            if isinstance(answer, AsyncIterator):
                async for each in answer:
                    sending.line(each)
            elif isawaitable(answer):
                sending.line(await answer)
            else:
                sending.line(answer)
        except CancelledError:
            raise
        except _UnknownPathError as error:
            sending.error(HTTPStatus.NOT_FOUND, str(error))
        except TunnelMeshError as error:
            sending.error(HTTPStatus.BAD_REQUEST, str(error))
        except Exception as error:
            _log.failure("cannot answer {path}", path=path)
            sending.error(HTTPStatus.INTERNAL_SERVER_ERROR, f"internal error: {error!r}")
        sending.end()


class _UnknownPathError(TunnelMeshError):
    """Nobody answers there."""


class _Sending:
    """Lines of JSON, one after the other, each a chunk of its own (RFC 9112 §7.1)."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._begun = False

    def line(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Send a value."""
        if not self._begun:
            self._begun = True
            fields = (
                ("Content-Type", "application/json"),
                ("Transfer-Encoding", "chunked"),
                ("Connection", "close"),
            )
            self._transport.write(Head(status, status.phrase, 1, fields).encode())
        line = json.dumps(value).encode() + b"\n"
        self._transport.write(b"%x\r\n%b\r\n" % (len(line), line))

    def error(self, status: HTTPStatus, message: str) -> None:
        """Send what went wrong; the status too, unless one has been sent."""
        self.line({"error": message}, status)

    def end(self) -> None:
        """That was all."""
        self._transport.write(b"0\r\n\r\n")
        self._transport.loseConnection()


def _answers(path: Path) -> bool:
    """Whether a living process listens on the socket *path*."""
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.settimeout(1.0)
        probe.connect(str(path))
        return True
    return False
