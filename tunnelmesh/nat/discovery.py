"""Discover the NAT in front of this machine: what the two machines found, put together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tunnelmesh.nat.behaviour import Filtering, Mapping, NatBehaviour
from tunnelmesh.nat.filtering import Filtered, FilteringDiscovery
from tunnelmesh.nat.mapping import Mapped, MappingDiscovery, Reflexive
from tunnelmesh.nat.query import Send

__all__ = [
    "Filtered",
    "FilteringDiscovery",
    "Mapped",
    "MappingDiscovery",
    "Reflexive",
    "Send",
    "behaviour",
]


def behaviour(mapped: Mapped, filtered: Filtered | None, local: Collection[str]) -> NatBehaviour:
    """What is known about the NAT.

    A sequential NAT's samples are evenly spaced only if nothing else maps in between: start the
    :class:`FilteringDiscovery` when the :class:`MappingDiscovery` has ended.

    :param filtered: None while the filtering is not known yet.
    :param local: this machine's own addresses, in the text form of
        :class:`~tunnelmesh.wire.endpoint.Endpoint`.
    """
    mapping = mapped.mapping
    filtering = Filtering.UNKNOWN if filtered is None else filtered.filtering
    if mapping is Mapping.BLOCKED:
        return NatBehaviour(mapping, Filtering.BLOCKED)
    untranslated = mapped.external is not None and mapped.external.host in local
    if untranslated and mapping in (Mapping.ENDPOINT_INDEPENDENT, Mapping.UNKNOWN):
        mapping = Mapping.NONE
    found = NatBehaviour(mapping, filtering, mapped.external, mapped.samples)
    if filtered is None:
        return found
    if mapping is Mapping.NONE and not filtered.exact:
        # A firewall that keeps state keeps it by flow: one that lets in another port is none.
        return replace(found, filtering=Filtering.ENDPOINT_INDEPENDENT)
    if found.maps_by_destination and filtering is Filtering.UNKNOWN:
        # Symmetric NATs filter so (RFC 3489 §5); with one server address it cannot be proved,
        # because the proof's packet gets a mapping of its own.
        return replace(found, filtering=Filtering.ADDRESS_AND_PORT_DEPENDENT)
    return found
