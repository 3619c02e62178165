"""A SOCKS5 server (RFC 1928) into the mesh: names are resolved by the mesh, not by this machine."""

from __future__ import annotations

from typing import Any

from tunnelmesh.errors import (
    DecodeError,
    NotAllowedError,
    OfflineError,
    StreamError,
    StreamTimeoutError,
    TunnelMeshError,
    UnknownPeerError,
)
from tunnelmesh.interfaces import IStreams
from tunnelmesh.streams.entrance import Client
from tunnelmesh.wire.socks5 import Negotiation, RefusalError, Reply, Request

_REPLIES: tuple[tuple[type[TunnelMeshError], Reply], ...] = (
    (UnknownPeerError, Reply.HOST_UNREACHABLE),
    (OfflineError, Reply.HOST_UNREACHABLE),
    (StreamTimeoutError, Reply.TTL_EXPIRED),
    (NotAllowedError, Reply.NOT_ALLOWED),
    (StreamError, Reply.REFUSED),
    (TunnelMeshError, Reply.FAILED),
)
"""What a client is told; the first that fits."""


class Socks5(Client):
    """One connection of a program."""

    def __init__(self, reactor: Any, streams: IStreams) -> None:
        super().__init__(reactor, streams)
        self._negotiation = Negotiation()

    def dataReceived(self, data: bytes) -> None:
        """More has come from the program, which says where it wants to be connected to."""
        negotiation = self._negotiation
        try:
            self.transport.write(negotiation.receive(data))
        except RefusalError as refusal:
            self._refuse(refusal.answer)
        except DecodeError:
            self.transport.abortConnection()
        else:
            if negotiation.request is not None:
                self.do(self._connect(negotiation.request, negotiation.rest))

    async def _connect(self, request: Request, rest: bytes) -> None:
        try:
            await self.join(request.host, request.port, Reply.SUCCEEDED.encode(), rest)
        except TunnelMeshError as error:
            reply = next(reply for kind, reply in _REPLIES if isinstance(error, kind))
            self._refuse(reply.encode())

    def _refuse(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.loseConnection()
