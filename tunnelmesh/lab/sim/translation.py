"""A NAT's table: which external endpoint stands for which internal one, and who may send to it."""

from __future__ import annotations

from random import Random

from tunnelmesh.lab.sim.behaviour import Dependence, Ports
from tunnelmesh.wire.endpoint import Endpoint

#: External ports given out (RFC 4787 REQ-3a: a NAT does not map 1024 and above to below).
PORTS = range(1024, 65536)


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

    :param address: the external address, or None to filter without translating.
    :param mapping: on what the external port depends beside the internal endpoint.
    :param filtering: who may send in.
    :param ports: how an external port is chosen.
    :param lifetime: in seconds.
    """

    def __init__(
        self,
        address: str | None,
        mapping: Dependence,
        filtering: Dependence,
        ports: Ports,
        lifetime: float,
        random: Random,
    ) -> None:
        self._address = address
        self._mapping = mapping
        self._filtering = filtering
        self._ports = ports
        self._lifetime = lifetime
        self._random = random
        self._next_port = random.choice(PORTS)
        self._by_inner: dict[object, _Mapping] = {}
        self._by_external: dict[Endpoint, _Mapping] = {}

    def outbound(self, inner: Endpoint, remote: Endpoint, now: float) -> Endpoint | None:
        """A packet goes out: find or make its mapping and prolong it.

        :returns: the external endpoint, or None where every port is taken.
        """
        key = (inner, self._depends_on(self._mapping, remote))
        mapping = self._by_inner.get(key)
        if mapping is None or mapping.expires <= now:
            external = inner if self._address is None else self._allocate(inner, now)
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
        if self._address is None and self._filtering == "endpoint-independent":
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
        assert self._address is not None
        if self._ports == "preserve" and self._is_free(inner.port, now):
            return Endpoint(self._address, inner.port)
        for _ in PORTS:
            if self._ports == "sequential":
                port = self._next_port
                self._next_port = port + 1 if port + 1 in PORTS else PORTS[0]
            else:
                port = self._random.choice(PORTS)
            if self._is_free(port, now):
                return Endpoint(self._address, port)
        return None

    def _is_free(self, port: int, now: float) -> bool:
        assert self._address is not None
        mapping = self._by_external.get(Endpoint(self._address, port))
        return mapping is None or mapping.expires <= now
