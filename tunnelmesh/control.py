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
from inspect import isawaitable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorUNIX
from twisted.logger import Logger
from twisted.web.http import (
    BAD_REQUEST,
    INTERNAL_SERVER_ERROR,
    NOT_FOUND,
    HTTPChannel,
    HTTPFactory,
    Request,
)

from tunnelmesh.errors import ListenError, TunnelMeshError

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
        self._site: Any = _Site(routes, reactor)
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
            self._port = self._reactor.listenUNIX(str(self._path), self._site, mode=0o600)
        except (CannotListenError, OSError) as error:
            self._site.doStop()  # Twisted starts it before it knows that it can listen
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


class _Question(Request):
    """One question. :mod:`twisted.web.server` is left out: what it adds, a peer would only load."""

    channel: Any

    def process(self) -> None:
        """Ask whoever knows; stop asking when the command is gone."""
        answering = Deferred.fromCoroutine(self._answer())
        self.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addErrback(lambda failure: failure.trap(CancelledError))

    async def _answer(self) -> None:
        path = self.path.decode("ascii", "replace")
        method = self.method.decode("ascii", "replace")
        route = self.channel.factory.routes.get(path if method == "GET" else f"{method} {path}")
        sending = _Sending(self)
        try:
            if route is None:
                raise _UnknownPathError(f"there is nothing at {path}")
            answer = route(_query(self))
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
            sending.error(NOT_FOUND, str(error))
        except TunnelMeshError as error:
            sending.error(BAD_REQUEST, str(error))
        except Exception as error:
            _log.failure("cannot answer {path}", path=path)
            sending.error(INTERNAL_SERVER_ERROR, f"internal error: {error!r}")
        self.finish()  # type: ignore[no-untyped-call]


class _Channel(HTTPChannel):
    requestFactory = _Question


class _Site(HTTPFactory):
    """Answers questions by their path, and writes no line per request."""

    noisy = False
    protocol = _Channel  # type: ignore[assignment]

    def __init__(self, routes: Mapping[str, Route], reactor: Any) -> None:
        super().__init__(reactor=reactor)
        self.routes = routes

    def startFactory(self) -> None:
        """Begin, without the clock that lines in a log would need: it ticks every second."""

    def log(self, request: Request) -> None:
        """Say nothing."""


class _UnknownPathError(TunnelMeshError):
    """Nobody answers there."""


class _Sending:
    """Lines of JSON, one after the other."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._begun = False

    def line(self, value: object) -> None:
        """Send a value."""
        if not self._begun:
            self._begun = True
            self._request.setHeader(b"content-type", b"application/json")
        self._request.write(json.dumps(value).encode() + b"\n")

    def error(self, status: int, message: str) -> None:
        """Send what went wrong; the status too, unless one has been sent."""
        if not self._begun:
            self._request.setResponseCode(status)
        self.line({"error": message})


def _query(request: Request) -> Query:
    return {
        name.decode("utf-8", "replace"): values[-1].decode("utf-8", "replace")
        for name, values in (request.args or {}).items()
    }


def _answers(path: Path) -> bool:
    """Whether a living process listens on the socket *path*."""
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.settimeout(1.0)
        probe.connect(str(path))
        return True
    return False
