"""How a NAT behaves, and which pairs of behaviours can be punched (RFC 4787, RFC 5780)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tunnelmesh.wire.endpoint import Endpoint
from tunnelmesh.wire.signal import UNSAMPLED, Allocation


class Mapping(StrEnum):
    """When does one socket get another external endpoint? (RFC 4787 §4.1)"""

    NONE = "none"
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"
    BLOCKED = "blocked"
    UNKNOWN = "unknown"


class Filtering(StrEnum):
    """Who may send to an external endpoint that is in use? (RFC 4787 §5)"""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"
    BLOCKED = "blocked"
    UNKNOWN = "unknown"


class Flavour(StrEnum):
    """Mapping and filtering in one word, for people (RFC 3489 §5 has the four NATs)."""

    OPEN = "open"
    FIREWALL = "firewall"
    FULL_CONE = "full-cone"
    RESTRICTED_CONE = "restricted-cone"
    PORT_RESTRICTED = "port-restricted"
    SYMMETRIC = "symmetric"
    UDP_BLOCKED = "udp-blocked"
    UNKNOWN = "unknown"


_CONES = {
    Filtering.ENDPOINT_INDEPENDENT: Flavour.FULL_CONE,
    Filtering.ADDRESS_DEPENDENT: Flavour.RESTRICTED_CONE,
    Filtering.ADDRESS_AND_PORT_DEPENDENT: Flavour.PORT_RESTRICTED,
}

_UNTRANSLATED = {
    Filtering.ENDPOINT_INDEPENDENT: Flavour.OPEN,
    Filtering.ADDRESS_DEPENDENT: Flavour.FIREWALL,
    Filtering.ADDRESS_AND_PORT_DEPENDENT: Flavour.FIREWALL,
}

_IN_WORDS = {
    Flavour.OPEN: (
        "This machine has a public address and nothing filters its UDP: "
        "every peer that can send UDP reaches it directly."
    ),
    Flavour.FIREWALL: (
        "This machine has a public address behind a firewall that lets in only answers: "
        "direct connections work with every peer except those behind a symmetric NAT."
    ),
    Flavour.FULL_CONE: (
        "A full cone NAT: one external port for all destinations, open to everybody while in use. "
        "Direct connections work with every peer that can send UDP."
    ),
    Flavour.RESTRICTED_CONE: (
        "A restricted cone NAT: one external port for all destinations, open to the addresses "
        "this machine has sent to. Direct connections work with every peer that can send UDP."
    ),
    Flavour.PORT_RESTRICTED: (
        "A port-restricted NAT: one external port for all destinations, open to the very "
        "endpoints this machine has sent to. Direct connections work with every peer except "
        "those behind a symmetric NAT, where they take luck or a predictable NAT."
    ),
    Flavour.SYMMETRIC: (
        "A symmetric NAT: another external port for every destination. Direct connections work "
        "with peers that are open, or behind a full or restricted cone; with others they take "
        "luck or a predictable NAT, and two symmetric NATs stay on the relay."
    ),
    Flavour.UDP_BLOCKED: (
        "UDP does not get out, or no answer gets back, so that there is nothing to punch a hole "
        "with. What can be direct over TCP is; all else goes through the coordinator."
    ),
    Flavour.UNKNOWN: (
        "The NAT could not be fully classified: direct connections are tried with every peer."
    ),
}


_FORWARDED = (
    "A router forwards a port to this machine: whatever its NAT does otherwise, every peer that "
    "can send UDP reaches it directly."
)


@dataclass(frozen=True)
class NatBehaviour:
    """What stands between one UDP socket and the internet.

    :ivar mapping: when the socket's external endpoint changes.
    :ivar filtering: who may send to it.
    :ivar external: the external endpoint seen by the first server that answered, if any did.
    :ivar samples: the external endpoints seen by different destinations, in the order in which
        the mappings were made.
    :ivar allocation: how it chooses ports, as far as that was looked at: what a hard punch starts
        from.
    :ivar forwarded: the router sends everybody's datagrams for some external port to the socket,
        because it was asked to.
    """

    mapping: Mapping = Mapping.UNKNOWN
    filtering: Filtering = Filtering.UNKNOWN
    external: Endpoint | None = None
    samples: tuple[Endpoint, ...] = ()
    allocation: Allocation = UNSAMPLED
    forwarded: bool = False

    @property
    def flavour(self) -> Flavour:
        """The behaviour in one word."""
        if self.mapping is Mapping.BLOCKED:
            return Flavour.UDP_BLOCKED
        if self.maps_by_destination:
            return Flavour.SYMMETRIC
        if self.mapping is Mapping.ENDPOINT_INDEPENDENT:
            return _CONES.get(self.filtering, Flavour.UNKNOWN)
        if self.mapping is Mapping.NONE:
            return _UNTRANSLATED.get(self.filtering, Flavour.UNKNOWN)
        return Flavour.UNKNOWN

    @property
    def maps_by_destination(self) -> bool:
        """Whether the external endpoint towards a peer differs from the one a server sees."""
        return self.mapping in (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT)

    def describe(self) -> str:
        """A sentence or two for a person: what this is, and what works with it."""
        if self.forwarded and self.mapping is not Mapping.BLOCKED:
            return _FORWARDED
        return _IN_WORDS[self.flavour]


def punchable(a: NatBehaviour, b: NatBehaviour) -> bool:
    """Whether plain simultaneous punching is worth trying between two peers.

    Both send at once to the external endpoint that a server saw the other at. It is enough that
    one side's packet gets in and the answer to where it came from gets back. What is not known is
    taken for the best case.
    """
    if Mapping.BLOCKED in (a.mapping, b.mapping):
        return False
    return _opens(a, b) or _opens(b, a)


def _opens(sender: NatBehaviour, receiver: NatBehaviour) -> bool:
    """Whether *sender*'s packet gets in at *receiver*, and *receiver*'s answer gets back."""
    if receiver.forwarded:
        return True  # and the answer comes from the very port that was sent to
    by_port = Filtering.ADDRESS_AND_PORT_DEPENDENT
    if receiver.filtering in (Filtering.ENDPOINT_INDEPENDENT, Filtering.UNKNOWN):
        arrives = True
    elif receiver.maps_by_destination:
        arrives = False  # what the receiver sent opened another endpoint than the known one
    else:
        arrives = receiver.filtering is not by_port or not sender.maps_by_destination
    return arrives and not (receiver.maps_by_destination and sender.filtering is by_port)
