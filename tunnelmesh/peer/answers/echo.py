"""``tunnelmesh ping``: echo requests through the tunnel, by whatever path it has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater

from tunnelmesh.peer.answers.status import milliseconds
from tunnelmesh.peer.pair.remote import Remote
from tunnelmesh.wire.control import ECHO_REQUEST, Echo

INTERVAL = 1.0
"""Seconds between requests, as ``ping`` does."""

PATIENCE = 3.0
"""Seconds to wait for an answer: a handshake over a slow relay takes less."""


class Echoes:
    """Sends echo requests and knows which of them are awaited."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._tokens = 0
        self._awaited: dict[tuple[str, int], Deferred[None]] = {}

    def answered(self, remote: Remote, token: int) -> None:
        """An echo reply came from *remote*."""
        awaited = self._awaited.pop((remote.name, token), None)
        if awaited is not None:
            awaited.callback(None)

    async def ping(self, remote: Remote, times: int) -> AsyncIterator[dict[str, Any]]:
        """Ping *times* times.

        :returns: for each, its number, the round trip in ms (None if lost) and the path.
        """
        for sequence in range(1, times + 1):
            started = self._reactor.seconds()
            rtt = await self._once(remote)
            leads_to = remote.path_remote
            yield {
                "seq": sequence,
                "rtt_ms": milliseconds(rtt),
                "path": {
                    "kind": remote.path_kind,
                    "remote": None if leads_to is None else str(leads_to),
                },
            }
            pause = INTERVAL - (self._reactor.seconds() - started)
            if sequence < times and pause > 0:
                await deferLater(self._reactor, pause)

    async def _once(self, remote: Remote) -> float | None:
        self._tokens += 1
        key = (remote.name, self._tokens)
        answer = self._awaited[key] = Deferred()
        started = self._reactor.seconds()
        remote.send([Echo(ECHO_REQUEST, self._tokens).encode()])
        try:
            await answer.addTimeout(PATIENCE, self._reactor)
        except TimeoutError:
            return None
        finally:
            self._awaited.pop(key, None)
        return float(self._reactor.seconds() - started)
