"""Which local endpoint belongs to which socket."""

# Twisted's errors and transports are not annotated yet.
# mypy: allow-untyped-calls

from __future__ import annotations

from random import Random
from typing import Generic, TypeVar

from twisted.internet import error

from tunnelmesh.wire.endpoint import Endpoint

#: Ports that are given out where none is asked for (Linux's range).
EPHEMERAL_PORTS = range(32_768, 61_000)

_WILDCARDS = {"": "0.0.0.0", "0.0.0.0": "0.0.0.0", "::": "::"}

T = TypeVar("T")


def wildcard_for(host: str) -> str:
    """The address that stands for all of a host's family."""
    return "::" if ":" in host else "0.0.0.0"


class Bindings(Generic[T]):
    """The endpoints of one machine and protocol that somebody listens on."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._bound: dict[Endpoint, T] = {}

    def bind(self, host: str, port: int, owner: T) -> Endpoint:
        """Give an endpoint to *owner*.

        :param host: an address, or '' or '::' for all of a family.
        :param port: 0 for any that is free.
        :raises CannotListenError: if another has it.
        """
        host = _WILDCARDS.get(host, host)
        bound = Endpoint(host, port or self.free_port())
        for other in self._bound:
            overlaps = other.host == host or wildcard_for(host) in (other.host, host)
            if other.port == bound.port and overlaps and (":" in other.host) == (":" in host):
                raise error.CannotListenError(host, port, OSError("Address already in use"))
        self._bound[bound] = owner
        return bound

    def unbind(self, bound: Endpoint, owner: T) -> bool:
        """Take an endpoint back; False where *owner* does not have it."""
        if self._bound.get(bound) is not owner:
            return False
        del self._bound[bound]
        return True

    def find(self, destination: Endpoint) -> T | None:
        """Who listens on an endpoint."""
        owner = self._bound.get(destination)
        if owner is None:
            owner = self._bound.get(Endpoint(wildcard_for(destination.host), destination.port))
        return owner

    def free_port(self) -> int:
        """A port that nobody listens on."""
        taken = {bound.port for bound in self._bound}
        while (port := self._random.choice(EPHEMERAL_PORTS)) in taken:
            pass
        return port

    def clear(self) -> list[T]:
        """Take every endpoint back; returns who had them."""
        owners = list(self._bound.values())
        self._bound.clear()
        return owners
