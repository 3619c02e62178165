"""A NAT's table: which external endpoint stands for which internal one, and who may send to it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tunnelmesh.lab.sim.allocation import PortChoice
from tunnelmesh.lab.sim.behaviour import Dependence
from tunnelmesh.wire.endpoint import Endpoint


class _Mapping:
    """An internal endpoint's external one."""

    __slots__ = ("expires", "external", "inner", "permitted")

    def __init__(self, inner: Endpoint, external: Endpoint) -> None:
        self.inner = inner
        self.external = external
        self.expires = 0.0
        # Whom a packet went out to, and until when he may answer.
        self.permitted: dict[object, float] = {}


class Translation:
    """One protocol's mappings and filters (RFC 4787 §4 and §5).

    Both live for *lifetime* seconds after the last packet *out*; packets in do not prolong them
    (REQ-6 asks no more, and many NATs do no more).

    :param addresses: the external ones, of which each mapping gets any; none means to filter
        without translating.
    :param mapping: on what the external port depends beside the internal endpoint.
    :param filtering: who may send in.
    :param ports: chooses external ports.
    :param lifetime: in seconds.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        mapping: Dependence,
        filtering: Dependence,
        ports: PortChoice,
        lifetime: float,
        random: Random,
    ) -> None:
        self._addresses = tuple(addresses)
        self._mapping = mapping
        self._filtering = filtering
        self._ports = ports
        self._lifetime = lifetime
        self._random = random
        self._by_inner: dict[object, _Mapping] = {}
        self._by_external: dict[Endpoint, _Mapping] = {}

    def outbound(self, inner: Endpoint, remote: Endpoint, now: float) -> Endpoint | None:
        """A packet goes out: find or make its mapping and prolong it.

        :returns: the external endpoint, or None where every port is taken.
        """
        key = (inner, self._depends_on(self._mapping, remote))
        mapping = self._by_inner.get(key)
        if mapping is None or mapping.expires <= now:
            external = self._allocate(inner, now) if self._addresses else inner
            if external is None:
                return None
            mapping = self._by_inner[key] = _Mapping(inner, external)
            self._by_external[external] = mapping
        mapping.expires = now + self._lifetime
        mapping.permitted[self._depends_on(self._filtering, remote)] = mapping.expires
        return mapping.external

    def inbound(self, external: Endpoint, remote: Endpoint, now: float) -> Endpoint | None:
        """A packet comes in: whom is it for?

        :returns: the internal endpoint, or None where the packet is not let in.
        """
        if not self._addresses and self._filtering == "endpoint-independent":
            return external
        mapping = self._by_external.get(external)
        if mapping is None or mapping.expires <= now:
            return None
        until = mapping.permitted.get(self._depends_on(self._filtering, remote), 0.0)
        return mapping.inner if until > now else None

    @staticmethod
    def _depends_on(dependence: Dependence, remote: Endpoint) -> object:
        if dependence == "endpoint-independent":
            return None
        return remote.host if dependence == "address-dependent" else remote

    def _allocate(self, inner: Endpoint, now: float) -> Endpoint | None:
        address = self._addresses[0]
        if len(self._addresses) > 1:
            address = self._random.choice(self._addresses)
        for port in self._ports.tries(inner.port, now):
            external = Endpoint(address, port)
            mapping = self._by_external.get(external)
            if mapping is None or mapping.expires <= now:
                return external
        return None
