"""What this machine's network means for direct connections, and what could be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunnelmesh.nat.behaviour import Flavour
from tunnelmesh.nat.behaviour import Mapping as NatMapping
from tunnelmesh.nat.candidates import behaviour_of
from tunnelmesh.wire.signal import Describe

_EVERYBODY = {Flavour.OPEN, Flavour.FULL_CONE, Flavour.RESTRICTED_CONE}
_MOST = {Flavour.FIREWALL, Flavour.PORT_RESTRICTED}

_PUBLIC = {Flavour.OPEN, Flavour.FIREWALL}
"""No NAT, so no router either that could forward anything."""

_SIX = "Over IPv6 there is no NAT in between: with others that have it, they work as well."


@dataclass(frozen=True)
class Surveyed:
    """What is known of this machine's network.

    :ivar own: what this machine tells others of it.
    :ivar host: the coordinator's.
    :ivar six: whether UDP over IPv6 gets to the coordinator.
    :ivar forwards: as :meth:`tunnelmesh.peer.reach.forwards.Forwards.described`.
    :ivar asked: whether the router is asked for a port.
    :ivar failures: links to the coordinator that do not work, and why.
    """

    own: Describe
    host: str
    six: bool = False
    forwards: Mapping[str, Any] = field(default_factory=dict)
    asked: bool = True
    failures: Mapping[str, str] = field(default_factory=dict)


def verdict(found: Surveyed) -> str:
    """How well direct connections work from here: a sentence or two for everybody."""
    own, behaviour = found.own, behaviour_of(found.own)
    if not own.link:
        return (
            "The coordinator is not reached, so nobody new is met. Direct connections that are "
            "open go on."
        )
    if own.relay_only:
        return (
            "Everything goes through the coordinator, because this machine was told so "
            "(--relay-only)."
        )
    if behaviour.mapping is NatMapping.BLOCKED:
        if own.tcp is not None:
            return (
                "UDP does not get out of this network. Direct connections are tried over TCP; what "
                "cannot be direct goes through the coordinator."
            )
        return "No direct connections from this network: everything goes through the coordinator."
    if behaviour.forwarded or behaviour.flavour in _EVERYBODY:
        return "Direct connections work from this network with everybody who can send UDP."
    six = f" {_SIX}" if found.six else ""
    if behaviour.flavour in _MOST:
        return f"Direct connections work from this network with most others.{six}"
    if behaviour.flavour is Flavour.SYMMETRIC:
        return (
            "Direct connections work from this network with some others. With the rest, traffic "
            f"goes through the coordinator, which is slower.{six}"
        )
    return "What stands in front of this network is not known yet: ask again in a few seconds."


def advice(found: Surveyed) -> list[str]:
    """What people can do to make it better: only what applies, the easiest first."""
    own, behaviour = found.own, behaviour_of(found.own)
    if not own.link:
        return [
            f"see that this machine has internet, and that {found.host} runs and is reached",
            "where only a proxy leads out, name it: --proxy=http://HOST:PORT",
        ]
    told = []
    if own.link == "websocket" and any(route.startswith("ssh") for route in found.failures):
        told.append("allow TCP to the coordinator's SSH port: it is the faster relay")
    if own.relay_only:
        return ["leave out --relay-only to allow direct connections", *told]
    if behaviour.mapping is NatMapping.BLOCKED:
        return [
            "allow outbound UDP in this network's firewall, to any port; only answers have to "
            "come back in",
            *told,
        ]
    if behaviour.forwarded or behaviour.flavour in _EVERYBODY or behaviour.external is None:
        return told
    if behaviour.flavour in _PUBLIC:
        first = [
            "let UDP in through the firewall, to one port: start with --udp-port=51820, and allow "
            "that"
        ]
    else:
        first = _about_the_router(found, behaviour.external.host)
    if not found.six:
        first.append("switch on IPv6 in this network, if the provider has it: it has no NAT")
    return first + told


def _about_the_router(found: Surveyed, outside: str) -> list[str]:
    if "internet" in found.forwards.get("why_not", {}):
        return [
            "ask the provider for a public IPv4 address: the router stands behind another NAT, so "
            "that forwarding a port on it is not enough"
        ]
    by_hand = (
        f"forward a UDP port on the router by hand: start with --udp-port=51820 "
        f"--advertise={outside}:51820, and forward UDP 51820 to this machine"
    )
    if not found.asked:
        return ["leave out --no-port-mapping, so that the router is asked for a port", by_hand]
    if found.forwards.get("external"):
        return [by_hand]
    return ["switch on UPnP, NAT-PMP or PCP in the router: then a port is forwarded", by_hand]
