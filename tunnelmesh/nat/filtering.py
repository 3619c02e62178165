"""Find out whom the NAT lets in (RFC 5780 §4.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunnelmesh.errors import DecodeError
from tunnelmesh.nat.behaviour import Filtering
from tunnelmesh.nat.query import PATIENCE, SILENCE, Query, Send
from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.stun import Change


@dataclass(frozen=True)
class Filtered:
    """The verdict.

    :ivar exact: False if only another port of the server could be tried, not another address:
        then ``address-dependent`` means that, or ``endpoint-independent``.
    """

    filtering: Filtering
    exact: bool = True


class FilteringDiscovery:
    """Asks a server to answer from elsewhere, and sees what gets in.

    It needs a socket of its own, thrown away afterwards, which sends to nothing else: what is sent
    elsewhere opens the filter. Three questions go to the one server at once: a plain one; one to be
    answered from its other address and port; one from its other port.

    A server with one address does not say whether it would answer from another port, so that
    silence alone means nothing. It is put to the proof: once the filter is open towards that port
    (this is what a further server on the same host is for) the same question must be answered.

    :param servers: as for :class:`~tunnelmesh.nat.mapping.MappingDiscovery`.
    :param entropy: gives that many random bytes.
    """

    def __init__(self, servers: Sequence[Endpoint], entropy: Callable[[int], bytes]) -> None:
        self._server = servers[0]
        self._second = next(
            (s for s in servers[1:] if s.host == servers[0].host and s.port != servers[0].port),
            None,
        )
        self._entropy = entropy
        self._queries: list[Query] = []
        self._proof: Query | None = None
        self._patience = PATIENCE
        self._alternate = False
        self._finished = False

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`expire`."""
        if self._finished:
            return None
        deadlines = [query.deadline for query in self._queries]
        return min((each for each in deadlines if each is not None), default=None)

    def start(self, now: float) -> list[Send]:
        """Ask the three questions."""
        self._plain = self._ask(self._server, Change.NOTHING, now)
        self._elsewhere = self._ask(self._server, Change.ADDRESS | Change.PORT, now)
        self._port = self._ask(self._server, Change.PORT, now)
        return [send for query in self._queries for send in query.expire(now)]

    def receive(self, datagram: bytes, source: Endpoint, now: float) -> list[Send | Filtered]:
        """Take a datagram that arrived at the socket; one that is not an answer is ignored."""
        if self._finished:
            return []
        try:
            message = stun.decode(datagram)
            other = message.other
        except DecodeError:
            return []
        query = next((q for q in self._queries if q.receive(message, source)), None)
        if query is None:
            return []
        if query is self._plain:
            self._patience = max(SILENCE, 2 * query.waited(now))
            for each in self._queries:
                each.patience = self._patience
            self._alternate = other is not None
            if not self._alternate:
                self._elsewhere.give_up()
        return self._conclude(now)

    def expire(self, now: float) -> list[Send | Filtered]:
        """Repeat what was not answered; conclude when silence has lasted long enough."""
        if self._finished:
            return []
        sends = [send for query in self._queries for send in query.expire(now)]
        return [*sends, *self._conclude(now)]

    def _conclude(self, now: float) -> list[Send | Filtered]:
        if self._elsewhere.honoured:
            return self._finish(Filtering.ENDPOINT_INDEPENDENT)
        if self._proof is not None and self._proof.honoured:
            return self._finish(Filtering.ADDRESS_AND_PORT_DEPENDENT)
        if self.deadline is not None:
            return []
        if not self._plain.honoured or self._port.refused or self._elsewhere.refused:
            return self._finish(Filtering.UNKNOWN)
        if self._port.honoured:
            return self._finish(Filtering.ADDRESS_DEPENDENT, exact=self._alternate)
        if self._alternate:
            return self._finish(Filtering.ADDRESS_AND_PORT_DEPENDENT)
        if self._second is None or self._proof is not None:
            return self._finish(Filtering.UNKNOWN)
        opening = self._ask(self._second, Change.NOTHING, now)
        self._proof = self._ask(self._server, Change.PORT, now)
        return [*opening.expire(now), *self._proof.expire(now)]

    def _finish(self, filtering: Filtering, exact: bool = True) -> list[Send | Filtered]:
        self._finished = True
        return [Filtered(filtering, exact)]

    def _ask(self, server: Endpoint, change: Change, now: float) -> Query:
        query = Query(server, self._entropy, now, change, self._patience)
        self._queries.append(query)
        return query
