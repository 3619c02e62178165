"""How commands of this machine open streams: HTTP CONNECT on a Unix socket of their owner's.

``CONNECT homelab:22 HTTP/1.1`` is answered with status 200, after which the connection is the
stream; or with another status, and one line of text that says why not. What a command sends with
its request is for the service, which gets it at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorUNIX

from tunnelmesh.errors import DecodeError, ListenError, TunnelMeshError
from tunnelmesh.interfaces import IStreams
from tunnelmesh.streams.door import Held
from tunnelmesh.streams.entrance import Client, Entrance
from tunnelmesh.streams.page import page, status_of
from tunnelmesh.wire.http import Collecting, Request, split_authority

FILE_NAME = "streams.sock"
"""The socket's name inside the state directory."""

ESTABLISHED = b"HTTP/1.1 200 Connected\r\n\r\n"


class LocalSocket:
    """Listens where commands open streams.

    On a reactor without Unix sockets, which a simulated machine has, it does nothing.

    :param path: the socket. What a dead process left there is replaced; that there is no living one
        is the control socket's to see.
    """

    def __init__(self, reactor: Any, path: Path, streams: IStreams) -> None:
        self._reactor = reactor
        self._path = path
        self._entrance = Entrance(lambda: Command(reactor, streams))
        self._port: IListeningPort | None = None

    def start(self) -> None:
        """Listen.

        :raises ListenError: if the socket cannot be made.
        """
        if not IReactorUNIX.providedBy(self._reactor):
            return
        mask = os.umask(0o177)
        try:
            self._path.unlink(missing_ok=True)
            self._port = self._reactor.listenUNIX(str(self._path), self._entrance, mode=0o600)
        except (CannotListenError, OSError) as error:
            reason = getattr(error, "socketError", error)
            raise ListenError(f"cannot listen on {self._path}: {reason}") from None
        finally:
            os.umask(mask)

    def stop(self) -> Deferred[None]:
        """Stop listening, close all connections and remove the socket."""
        self._entrance.close()
        port, self._port = self._port, None
        stopping = None if port is None else port.stopListening()
        return succeed(None) if stopping is None else stopping


class Command(Client):
    """The connection of one command."""

    def __init__(self, reactor: Any, streams: IStreams) -> None:
        super().__init__(reactor, streams)
        self._collecting = Collecting()

    def connectionMade(self) -> None:
        """It has some time to ask."""
        self.factory.clients.add(self)
        self.hurry()

    def dataReceived(self, data: bytes) -> None:
        """More of the request has come."""
        try:
            found = self._collecting.receive(data)
            if found is not None:
                self.do(self._connect(Request.decode(found[0]), found[1]))
        except DecodeError as error:
            self._refuse(400, f"{error}")

    async def _connect(self, request: Request, rest: bytes) -> None:
        try:
            if request.method != "CONNECT":
                raise DecodeError("only CONNECT is understood here")
            host, port = split_authority(request.target)
            held = Held()
            await self.open(host, port, held, rest)
        except DecodeError as error:
            self._refuse(400, f"{error}")
        except TunnelMeshError as error:
            self._refuse(status_of(error), f"{error}")
        else:
            self.transport.write(ESTABLISHED)
            held.join(self.transport)

    def _refuse(self, status: int, text: str) -> None:
        self.transport.write(page(status, text + "\n"))
        self.transport.loseConnection()
