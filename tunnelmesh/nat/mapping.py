"""Find out how the NAT maps one socket (RFC 5780 §4.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunnelmesh.errors import DecodeError
from tunnelmesh.nat.behaviour import Mapping
from tunnelmesh.nat.query import SILENCE, Query, Send
from tunnelmesh.wire import stun
from tunnelmesh.wire.endpoint import Endpoint


@dataclass(frozen=True)
class Reflexive:
    """The socket's external endpoint, as the first server that answered sees it."""

    endpoint: Endpoint


@dataclass(frozen=True)
class Mapped:
    """The verdict.

    :ivar mapping: never ``none``: that takes a look at the local addresses
        (:func:`tunnelmesh.nat.discovery.behaviour`).
    :ivar external: what :class:`Reflexive` said.
    :ivar samples: external endpoints towards different destinations, as the mappings were made.
    """

    mapping: Mapping
    external: Endpoint | None
    samples: tuple[Endpoint, ...]


class MappingDiscovery:
    """Asks servers, and the alternate address of one that has one, from the socket that matters.

    :param servers: STUN servers of one address family, the primary first. Further ones, be they
        other ports of the same host, make up for a server without an alternate address.
    :param entropy: gives that many random bytes.
    """

    def __init__(self, servers: Sequence[Endpoint], entropy: Callable[[int], bytes]) -> None:
        self._servers = tuple(servers)
        self._entropy = entropy
        self._queries: dict[Endpoint, Query] = {}
        self._seen: dict[Endpoint, Endpoint] = {}
        self._alternate = False
        self._finished = False
        self._patience: float | None = None

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`expire`."""
        if self._finished:
            return None
        deadlines = [query.deadline for query in self._queries.values()]
        return min((each for each in deadlines if each is not None), default=None)

    def start(self, now: float) -> list[Send]:
        """Ask every server at once, so that the mappings are made in the servers' order."""
        return [send for server in self._servers for send in self._ask(server, now)]

    def receive(
        self, datagram: bytes, source: Endpoint, now: float
    ) -> list[Send | Reflexive | Mapped]:
        """Take a STUN datagram that arrived at the socket; one that is not an answer is ignored."""
        query = self._queries.get(source)
        if query is None or self._finished:
            return []
        try:
            message = stun.decode(datagram)
            mapped, other = message.mapped, message.other
        except DecodeError:
            return []
        if not query.receive(message, source):
            return []
        outputs: list[Send | Reflexive | Mapped] = []
        if query.honoured and mapped is not None and mapped.port:
            if not self._seen:
                outputs.append(Reflexive(mapped))
                self._hurry(query.waited(now))
            self._seen[source] = mapped
            if other is not None and other.host != source.host and not self._alternate:
                self._alternate = True
                outputs += self._ask(Endpoint(other.host, source.port), now)
                outputs += self._ask(other, now)
        return outputs + self._conclude()

    def expire(self, now: float) -> list[Send | Mapped]:
        """Repeat what was not answered; conclude when there is nothing more to wait for."""
        if self._finished:
            return []
        sends = [send for query in self._queries.values() for send in query.expire(now)]
        return [*sends, *self._conclude()]

    def _ask(self, server: Endpoint, now: float) -> list[Send]:
        if server in self._queries or not server.port:
            return []
        query = self._queries[server] = Query(server, self._entropy, now)
        if self._patience is not None:
            query.patience = self._patience
        return query.expire(now)

    def _hurry(self, round_trip: float) -> None:
        """UDP works: wait less long for those that do not answer."""
        self._patience = max(SILENCE, 2 * round_trip)
        for query in self._queries.values():
            query.patience = min(query.patience, self._patience)

    def _conclude(self) -> list[Mapped]:
        if self.deadline is not None:
            return []
        self._finished = True
        if not self._seen:
            silent = all(query.given_up for query in self._queries.values())
            return [Mapped(Mapping.BLOCKED if silent else Mapping.UNKNOWN, None, ())]
        samples = tuple(self._seen[server] for server in self._queries if server in self._seen)
        return [Mapped(classify(self._seen), next(iter(self._seen.values())), samples)]


def classify(seen: dict[Endpoint, Endpoint]) -> Mapping:
    """The mapping behaviour, from the external endpoint that each destination saw.

    Where all destinations are ports of one host, address-dependent mapping, which is rare, cannot
    be told from endpoint-independent mapping and is taken for it.
    """
    if len(seen) < 2:
        return Mapping.UNKNOWN
    if len(set(seen.values())) == 1:
        return Mapping.ENDPOINT_INDEPENDENT
    hosts: dict[str, list[Endpoint]] = {}
    for destination, external in seen.items():
        hosts.setdefault(destination.host, []).append(external)
    same_for_all_ports = all(len(set(externals)) == 1 for externals in hosts.values())
    if same_for_all_ports and any(len(externals) > 1 for externals in hosts.values()):
        return Mapping.ADDRESS_DEPENDENT
    return Mapping.ADDRESS_AND_PORT_DEPENDENT
