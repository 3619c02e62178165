"""A gateway's firewall and NAT, as nftables rules. Pure: kind in, text out.

Linux by itself has two kinds: plain source NAT, which keeps the port (in effect port-restricted),
and fully random source NAT (symmetric). The cones come from maps that the packets themselves fill
in: a hook after translation records which outer port an inner socket got, and the next packet of
the same socket, whatever its destination, is given the same one.

Two things matter for being a faithful NAT. The input chain drops: an early packet from a peer must
not leave a conntrack entry, which would push the later outbound flow to another port. And what is
blocked is dropped after routing but before translation, so that it leaves no mapping behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from .cable import NEIGHBOURS
from .kinds import ADDRESS_DEPENDENT, ENDPOINT_INDEPENDENT, RANDOM, SEQUENTIAL, SHUFFLED, Kind

TABLE = "ip tunnelmesh_lab"
"""The table of a gateway's IPv4."""

TABLE6 = "ip6 tunnelmesh_lab"
"""And of its IPv6."""

PORTS = range(20000, 52000)
"""Where outer ports are taken from: clear of well-known and of the usual local ones."""

PORTS_IN_USE = 2048
"""Outer ports a gateway hands out before it begins again: many more than one test's sockets, and
few enough that the rules load in a few milliseconds."""

ANSWERS = "ct state established,related accept"

BLOCKED = "filter hook postrouting priority -10"

PROXY_PORT = 3128
"""Where the gateway's HTTP proxy listens; the port Squid made customary."""

WEB_PORTS = (80, 443, 8080)
"""What passes a gateway of kind web-only."""


@dataclass(frozen=True, slots=True)
class Block:
    """Something the gateway drops: all of UDP, or one TCP port.

    :ivar tcp_port: destination port; None means UDP.
    """

    tcp_port: int | None = None

    @property
    def match(self) -> str:
        """The nftables expression for it."""
        return "meta l4proto udp" if self.tcp_port is None else f"tcp dport {self.tcp_port}"

    def __str__(self) -> str:
        return "UDP" if self.tcp_port is None else f"TCP {self.tcp_port}"


def rules(
    kind: Kind,
    outside: str,
    *,
    lifetime: int = 120,
    web_ports: Iterable[int] = WEB_PORTS,
    blocks: Iterable[Block] = (),
    random: Random | None = None,
    zone: int = 0,
) -> str:
    """Write a gateway's complete ruleset, which replaces the one before it in one step.

    :param outside: the gateway's address on its ``wan`` device; its hosts are on ``lan``.
    :param lifetime: seconds that an unused UDP mapping lives.
    :param web_ports: TCP ports that kind web-only passes.
    :param blocks: what is dropped besides.
    :param random: shuffles the outer ports; without it they are in order.
    :param zone: flows of other conntrack zones are unknown to these rules: with a number not used
        before, the gateway has forgotten everything.
    """
    chains = [
        *_zones(zone),
        _chain("blocked", BLOCKED, _blocked(blocks)),
        _chain("input", "filter hook input priority 0; policy drop", _input(outside)),
        _chain("forward", "filter hook forward priority 0; policy drop", _forward(kind, web_ports)),
    ]
    if not kind.routed:
        ports = _outer_ports(kind, random)
        chains.append(
            _chain("outward", "nat hook postrouting priority 100", _nat(kind, outside, ports))
        )
    if kind.learns:
        chains[:0] = _maps(lifetime)
        chains.append(_chain("inward", "nat hook prerouting priority -100", _inward(kind, outside)))
        chains.append(_chain("learn", "filter hook postrouting priority 110", _learn(outside)))
    return _table(TABLE, chains)


def rules6(*, blocks: Iterable[Block] = (), zone: int = 0) -> str:
    """Write the complete ruleset of a gateway's IPv6: what RFC 6092 wants of a home's at least.

    Nothing is translated; from outside come only answers.

    :param blocks: what is dropped besides.
    :param zone: as for :func:`rules`.
    """
    outward = 'iifname "lan" oifname "wan" accept'
    inside = 'iifname "lan" accept'
    forward, own = "hook forward priority 0; policy drop", "hook input priority 0; policy drop"
    chains = [
        *_zones(zone),
        _chain("blocked", BLOCKED, _blocked(blocks)),
        _chain("input", f"filter {own}", [ANSWERS, f"{NEIGHBOURS} accept", inside]),
        _chain("forward", f"filter {forward}", [ANSWERS, outward]),
    ]
    return _table(TABLE6, chains)


def block_rules(blocks: Iterable[Block], table: str = TABLE) -> str:
    """Write the change that blocks exactly these, leaving all mappings alone."""
    lines = [f"flush chain {table} blocked"]
    lines += [f"add rule {table} blocked {line}" for line in _blocked(blocks)]
    return "\n".join(lines) + "\n"


def _table(name: str, chains: Iterable[str]) -> str:
    body = "\n".join(chains)
    return f"table {name}\ndelete table {name}\ntable {name} {{\n{body}\n}}\n"


def _zones(zone: int) -> list[str]:
    hooks = {"arriving": "prerouting", "own": "output"}
    return [
        _chain(name, f"filter hook {hook} priority -300", [f"ct zone set {zone}"])
        for name, hook in hooks.items()
    ]


def _chain(name: str, hook: str, lines: Iterable[str]) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"  chain {name} {{\n    type {hook};\n{body}  }}"


def _maps(lifetime: int) -> list[str]:
    kept = f"flags dynamic,timeout; timeout {lifetime}s; size 65535;"
    socket = "ipv4_addr . inet_service"
    return [
        f"  map mapped {{ type {socket} : {socket}; {kept} }}",
        f"  map inner {{ type inet_service : {socket}; {kept} }}",
        f"  set contacted {{ type inet_service . ipv4_addr; {kept} }}",
    ]


def _blocked(blocks: Iterable[Block]) -> list[str]:
    return [f"{block.match} drop" for block in blocks]


def _input(outside: str) -> list[str]:
    return [
        ANSWERS,
        f'iifname "lan" ip daddr != {outside} accept',
    ]


def _forward(kind: Kind, web_ports: Iterable[int]) -> list[str]:
    if kind.proxied:
        return []
    if kind.name == "udp-blocked":
        leaving = "meta l4proto tcp"
    elif kind.name == "web-only":
        leaving = f"tcp dport {{ {', '.join(map(str, web_ports))} }}"
    else:
        leaving = ""
    lines = [
        ANSWERS,
        'iifname "wan" ct status dnat accept',
        f'iifname "lan" oifname "wan" {leaving} accept',
    ]
    if kind.name == "open":
        lines.append('iifname "wan" oifname "lan" accept')
    return lines


def _outer_ports(kind: Kind, random: Random | None) -> Sequence[int]:
    if kind.ports == SEQUENTIAL or random is None:
        return PORTS[:PORTS_IN_USE]
    return random.sample(PORTS, PORTS_IN_USE)


def _nat(kind: Kind, outside: str, ports: Sequence[int]) -> list[str]:
    lines = []
    if kind.learns:
        lines.append("snat ip to ip saddr . udp sport map @mapped")
    if kind.ports in (SHUFFLED, SEQUENTIAL):
        given = ", ".join(f"{i} : {outside} . {port}" for i, port in enumerate(ports))
        lines.append(f"meta l4proto udp snat ip to numgen inc mod {len(ports)} map {{ {given} }}")
    elif kind.ports == RANDOM:
        lines.append(f"meta l4proto udp snat to {outside} fully-random")
    lines.append(f"snat to {outside}")
    return [f'oifname "wan" {line}' for line in lines]


def _inward(kind: Kind, outside: str) -> list[str]:
    arriving = f'iifname "wan" ip daddr {outside}'
    if kind.filtering == ENDPOINT_INDEPENDENT:
        return [f"{arriving} dnat ip to udp dport map @inner"]
    if kind.filtering == ADDRESS_DEPENDENT:
        return [f"{arriving} udp dport . ip saddr @contacted dnat ip to udp dport map @inner"]
    return []


def _learn(outside: str) -> list[str]:
    lines = []
    for direction in ("original", "reply"):
        # A reply of a flow that came in from outside also keeps its socket's mapping alive.
        inner = f"ct {direction} ip saddr . ct {direction} proto-src"
        leaving = f'oifname "wan" ip saddr {outside} meta l4proto udp ct direction {direction}'
        lines += [
            f"{leaving} update @mapped {{ {inner} : ip saddr . udp sport }}",
            f"{leaving} update @inner {{ udp sport : {inner} }}",
            f"{leaving} update @contacted {{ udp sport . ip daddr }}",
        ]
    return lines
