"""The kinds of NAT and firewall, in the words of RFC 4787."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tunnelmesh.errors import LabError

Dependence = Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"]
Ports = Literal["random", "preserve", "sequential"]

#: RFC 4787 REQ-5: a UDP mapping lives at least two minutes, unless configured otherwise.
UDP_LIFETIME = 120.0

#: RFC 5382 REQ-5: an established TCP connection's mapping lives at least 2 hours 4 minutes.
TCP_LIFETIME = 7440.0

#: What a hotel's or an office's firewall lets out: web ports only.
WEB_PORTS = frozenset({80, 443, 8080})


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a gateway does to packets.

    :ivar translates: False where it only filters, and the machines inside have public addresses.
    :ivar mapping: on what the external port depends beside the internal endpoint (RFC 4787 §4.1).
    :ivar filtering: who may send in through a mapping (RFC 4787 §5).
    :ivar ports: how an external port is chosen (RFC 4787 §4.2).
    :ivar step: from one port of a sequence to the next.
    :ivar block: ports that the gateway has, where they are not all.
    :ivar pool: external addresses, of which each mapping gets any (§4.1, "arbitrary" pooling).
    :ivar others: mappings a second that machines make which are not simulated.
    :ivar lifetime: seconds that a UDP mapping lives after the last packet out.
    :ivar hairpin: whether two machines inside reach each other by their external endpoints (§6).
    :ivar udp: whether UDP passes.
    :ivar tcp: destination ports that TCP may go out to, or None for all.
    """

    translates: bool = True
    mapping: Dependence = "endpoint-independent"
    filtering: Dependence = "address-and-port-dependent"
    ports: Ports = "random"
    step: int = 1
    block: int | None = None
    pool: int = 1
    others: float = 0.0
    lifetime: float = UDP_LIFETIME
    hairpin: bool = False
    udp: bool = True
    tcp: frozenset[int] | None = None


#: The kinds by name; the kernel laboratory has the same ones.
KINDS: dict[str, Behaviour] = {
    "open": Behaviour(translates=False, filtering="endpoint-independent"),
    "firewall": Behaviour(translates=False),
    "full-cone": Behaviour(filtering="endpoint-independent"),
    "restricted-cone": Behaviour(filtering="address-dependent"),
    "port-restricted": Behaviour(),
    "linux": Behaviour(ports="preserve"),
    "symmetric": Behaviour(mapping="address-and-port-dependent"),
    "symmetric-sequential": Behaviour(mapping="address-and-port-dependent", ports="sequential"),
    "udp-blocked": Behaviour(ports="preserve", udp=False),
    "web-only": Behaviour(ports="preserve", udp=False, tcp=WEB_PORTS),
    "proxy-only": Behaviour(ports="preserve", udp=False, tcp=frozenset()),
    "proxy-auth": Behaviour(ports="preserve", udp=False, tcp=frozenset()),
}


def behaviour(kind: str) -> Behaviour:
    """The behaviour of a kind.

    :raises LabError: if there is no such kind.
    """
    try:
        return KINDS[kind]
    except KeyError:
        raise LabError(f"there is no NAT kind {kind!r}; the kinds are {', '.join(KINDS)}") from None
