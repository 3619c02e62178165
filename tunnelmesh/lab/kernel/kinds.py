"""What a gateway can be, in the words of RFC 4787.

Mapping (RFC 4787 §4.1) and filtering (§5) are written as ``endpoint-independent``,
``address-dependent`` or ``address-and-port-dependent``; mapping is ``none`` where nothing is
translated, and both are ``blocked`` where no UDP passes at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import LabError

ENDPOINT_INDEPENDENT = "endpoint-independent"
ADDRESS_DEPENDENT = "address-dependent"
ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"
NONE = "none"
BLOCKED = "blocked"

PRESERVED = "preserved"
SHUFFLED = "shuffled"
SEQUENTIAL = "sequential"
RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of gateway.

    :ivar name: what people type.
    :ivar mapping: how an inner socket is given its outer address.
    :ivar filtering: who may send to that outer address.
    :ivar flavour: what ``tunnelmesh netcheck`` is expected to call it.
    :ivar life: where one meets it.
    :ivar routed: the hosts behind it have public addresses; nothing is translated.
    :ivar ports: how outer ports are chosen (RFC 4787 §4.2): ``preserved``, ``shuffled`` (each new
        mapping takes the next of a shuffled list), ``sequential`` (the next number, which can be
        predicted), ``random``, or ``none`` where UDP is not translated.
    :ivar ipv6: whether its hosts have public IPv6 addresses besides, behind a firewall.
    :ivar proxied: the only way out is an HTTP proxy on the gateway.
    """

    name: str
    mapping: str
    filtering: str
    flavour: str
    life: str
    ports: str = NONE
    routed: bool = False
    ipv6: bool = False
    proxied: bool = False

    @property
    def udp(self) -> bool:
        """Whether UDP passes at all."""
        return self.mapping != BLOCKED

    @property
    def tcp(self) -> bool:
        """Whether TCP passes outwards, to any port."""
        return not self.proxied and self.name != "web-only"

    @property
    def learns(self) -> bool:
        """Whether its mappings are kept in maps that the packets fill in."""
        return self.ports == SHUFFLED


def _kinds() -> Iterator[Kind]:
    eim, adf, apdf = ENDPOINT_INDEPENDENT, ADDRESS_DEPENDENT, ADDRESS_AND_PORT_DEPENDENT
    yield Kind("open", NONE, eim, "open", "a server with a public address", routed=True)
    yield Kind("firewall", NONE, apdf, "firewall", "a campus, IPv6 at home", routed=True)
    for name, filtering, life in (
        ("full-cone", eim, "a DMZ host, some game consoles' routers"),
        ("restricted-cone", adf, "older home routers"),
        ("port-restricted", apdf, "most home routers, many carriers"),
    ):
        yield Kind(name, eim, filtering, name, life, ports=SHUFFLED)
    life = "a plain Linux masquerade: keeps the port"
    yield Kind("linux", eim, apdf, "port-restricted", life, ports=PRESERVED)
    life = "offices, mobile carriers, pfSense"
    yield Kind("symmetric", apdf, apdf, "symmetric", life, ports=RANDOM)
    life = "mobile carriers: symmetric for IPv4, a firewall for IPv6"
    yield Kind("dual-stack", apdf, apdf, "symmetric", life, ports=RANDOM, ipv6=True)
    life = "routers and carriers that count ports upwards"
    yield Kind("symmetric-sequential", apdf, apdf, "symmetric", life, ports=SEQUENTIAL)
    for name, life in (
        ("udp-blocked", "a strict office, some hotels: no UDP at all"),
        ("web-only", "a guest network: only web ports pass"),
        ("proxy-only", "a company whose only way out is an HTTP proxy"),
        ("proxy-auth", "the same, and the proxy asks for a password"),
    ):
        proxied = name.startswith("proxy")
        yield Kind(name, BLOCKED, BLOCKED, "udp-blocked", life, proxied=proxied)


KINDS: dict[str, Kind] = {kind.name: kind for kind in _kinds()}
"""Every kind, by name."""


def kind_named(name: str) -> Kind:
    """Look a kind up.

    :raises LabError: there is none of that name.
    """
    try:
        return KINDS[name]
    except KeyError:
        raise LabError(f"no kind of NAT is called {name!r}; there are {', '.join(KINDS)}") from None


def punchable(one: Kind, other: Kind) -> bool:
    """Whether plain simultaneous hole punching opens the way between two gateways.

    It fails where one side's mapping depends on the destination and the other lets in only the
    exact address and port it has sent to. Firewalls for IPv6 are always opened.
    """
    if one.ipv6 and other.ipv6:
        return True
    if not (one.udp and other.udp):
        return False
    pairs = ((one, other), (other, one))
    return not any(
        a.mapping == ADDRESS_AND_PORT_DEPENDENT and b.filtering == ADDRESS_AND_PORT_DEPENDENT
        for a, b in pairs
    )


def guessable(one: Kind, other: Kind) -> bool:
    """Whether a direct path, which plain punching does not find, is found by guessing ports.

    Where one side's ports are random the other's must not depend on the destination; ports in
    sequence can be guessed by both.
    """
    if punchable(one, other) or not (one.udp and other.udp):
        return False
    ports = [kind.ports for kind in (one, other) if kind.mapping == ADDRESS_AND_PORT_DEPENDENT]
    return ports == [RANDOM] or set(ports) == {SEQUENTIAL}


def connectable(one: Kind, other: Kind) -> bool:
    """Whether two hosts are to connect over TCP, since UDP does not pass between them."""
    blocked = not (one.udp and other.udp) and not (one.ipv6 and other.ipv6)
    return blocked and one.tcp and other.tcp
