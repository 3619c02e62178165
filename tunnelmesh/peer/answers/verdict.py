"""Why a pair is on the path it is on, and what would improve it: in words, with the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunnelmesh.nat.allocation import in_words
from tunnelmesh.nat.behaviour import Filtering, Flavour, Mapping, NatBehaviour, punchable
from tunnelmesh.nat.candidates import behaviour_of, has_ipv6, share_ipv6
from tunnelmesh.paths.health import State
from tunnelmesh.paths.path_mtu import BASE
from tunnelmesh.peer.answers import hard_verdict
from tunnelmesh.peer.answers.absence import age
from tunnelmesh.peer.pair.remote import Remote
from tunnelmesh.wire.signal import Describe

_SHORT = {
    Flavour.OPEN: "public address, open",
    Flavour.FIREWALL: "public address, firewalled",
    Flavour.FULL_CONE: "full cone NAT",
    Flavour.RESTRICTED_CONE: "restricted cone NAT",
    Flavour.PORT_RESTRICTED: "port-restricted NAT",
    Flavour.SYMMETRIC: "symmetric NAT",
    Flavour.UDP_BLOCKED: "UDP blocked",
    Flavour.UNKNOWN: "NAT not known",
}

_LINKS = {"ssh": "SSH", "websocket": "WebSocket"}


@dataclass(frozen=True)
class Verdict:
    """The explanation of one pair's path.

    :ivar summary: one sentence.
    :ivar evidence: what it rests on.
    :ivar advice: what would improve it; empty if nothing needs to.
    """

    summary: str
    evidence: tuple[str, ...]
    advice: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "summary": self.summary,
            "evidence": list(self.evidence),
            "advice": list(self.advice),
        }


def explain(remote: Remote, own: Describe, failures: dict[str, str]) -> Verdict:
    """Explain the path to a remote peer.

    :param own: what this machine says of its own network.
    :param failures: links to the coordinator that do not work, and why.
    """
    you, they = (
        behaviour_of(own),
        None if remote.pursuit.them is None else behaviour_of(remote.pursuit.them),
    )
    summary = _summary(remote, own, you, they)
    return Verdict(
        summary, _evidence(remote, own, failures), _advice(remote, own, you, they, failures)
    )


def _side(described: Describe | None) -> str:
    if described is None:
        return "not described yet"
    behaviour = behaviour_of(described)
    words = _SHORT[behaviour.flavour]
    if behaviour.maps_by_destination:
        words += f" (ports: {in_words(behaviour.allocation)})"
    if behaviour.forwarded:
        words += ", with a port forwarded by the router"
    if has_ipv6(described):
        words += ", with IPv6"
    if described.relay_only:
        words = "told to use the relay only"
    if described.link in _LINKS:
        proxied = " through a proxy" if described.proxied else ""
        words += f", coordinator by {_LINKS[described.link]}{proxied}"
    return words


def _summary(remote: Remote, own: Describe, you: NatBehaviour, they: NatBehaviour | None) -> str:
    kind = remote.path_kind
    if kind == "udp":
        return f"Direct: {remote.describe(remote.ladder.current)}."
    if kind == "tcp":
        why = _because(remote, own, you, they)
        return f"Direct over TCP: {remote.describe(remote.ladder.current)}, {why}."
    if kind is None:
        if not remote.online:
            return f"No path: {remote.name} is offline, or has lost its coordinator."
        if remote.direct_only and remote.ladder.current is not None:
            why = _because(remote, own, you, they)
            return (
                f"No path: there is no direct one, {why}, and --direct-only-peers forbids others."
            )
        return "No path yet: this machine has no link to the coordinator."
    return (
        f"Relayed over {_LINKS[kind]} through the coordinator, {_because(remote, own, you, they)}."
    )


def _because(remote: Remote, own: Describe, you: NatBehaviour, they: NatBehaviour | None) -> str:
    them = remote.pursuit.them
    if remote.relay_only and not own.relay_only:
        return f"because --relay-only-peers names {remote.name}"
    if own.relay_only or (them is not None and them.relay_only):
        who = "this machine" if own.relay_only else remote.name
        return f"because {who} was told to use the relay only"
    if them is not None and share_ipv6(own, them):
        return "although both have IPv6, over which nothing has got through yet"
    if you.mapping is Mapping.BLOCKED:
        return "because UDP does not get out of your network"
    if they is None:
        return "while the first attempt at a direct path is under way"
    if they.mapping is Mapping.BLOCKED:
        return f"because UDP does not get out of {remote.name}'s network"
    if not punchable(you, they):
        return hard_verdict.because(remote, you, they)
    return "although a direct path should be possible; it is being tried"


def _since(remote: Remote) -> list[str]:
    changes = remote.history.changes
    return [f"so for {age(remote.held)}, because: {changes[-1].cause}"] if changes else []


def _evidence(remote: Remote, own: Describe, failures: dict[str, str]) -> tuple[str, ...]:
    pursuit = remote.pursuit
    lines = [f"you: {_side(own)}", f"they: {_side(pursuit.them)}", *_since(remote)]
    health = remote.ladder.health
    if health is not None and health.rtt is not None:
        lines.append(f"round trip on this path: {health.rtt * 1000:.1f} ms")
    if remote.path_mtu is not None:
        lines.append(f"longest packet that this path carries whole: {remote.path_mtu} bytes")
    lines += [
        f"{remote.describe(way)}: short probes were answered, those of {BASE} bytes were not"
        for way, health in remote.ladder.ways.items()
        if health.state is State.DEAD and not health.proven
    ]
    if pursuit.attempts:
        lines.append(f"attempts to punch: {pursuit.attempts}, with {pursuit.probes} probes sent")
    if pursuit.them is not None and remote.path_kind not in ("udp", "tcp"):
        lines += pursuit.tcp.in_words(own, pursuit.them, remote.name)
    if pursuit.hard.last is not None:
        lines.append(hard_verdict.evidence(pursuit.hard.last))
    lines += [f"no link by {route}: {reason}" for route, reason in sorted(failures.items())]
    return tuple(lines)


def _told_to_relay(remote: Remote, own: Describe) -> tuple[str, ...]:
    """What to take back, if somebody wants the relay only."""
    told = []
    if own.relay_only:
        told.append("start this machine's peer without --relay-only")
    elif remote.relay_only:
        told.append(f"take {remote.name} out of --relay-only-peers")
    if remote.pursuit.them is not None and remote.pursuit.them.relay_only:
        told.append(f"start {remote.name}'s peer without --relay-only")
    return tuple(told)


def _advice(
    remote: Remote,
    own: Describe,
    you: NatBehaviour,
    they: NatBehaviour | None,
    failures: dict[str, str],
) -> tuple[str, ...]:
    if remote.path_kind == "udp":
        return ()
    if not remote.online and remote.path_kind is None:
        return (f"see that {remote.name} is on and has a network, and that TunnelMesh runs there",)
    if not own.link:
        return ("get this machine's link to the coordinator back: 'tunnelmesh netcheck' says how",)
    told_so = _told_to_relay(remote, own)
    if told_so:
        return told_so
    advice = []
    sides = [("your", you)] + ([] if they is None else [(f"{remote.name}'s", they)])
    for whose, behaviour in sides:
        if behaviour.mapping is Mapping.BLOCKED:
            advice.append(f"allow outbound UDP in {whose} network")
        elif behaviour.maps_by_destination and not behaviour.forwarded:
            advice.append(
                f"forward a UDP port to the machine on {whose} router (--advertise), or switch on "
                "PCP, NAT-PMP or UPnP there"
            )
        elif behaviour.filtering is Filtering.UNKNOWN and behaviour.external is None:
            advice.append(f"{whose} NAT is still being classified: ask again in a few seconds")
    them = remote.pursuit.them
    if them is not None and has_ipv6(own) != has_ipv6(them):
        lacking, having = ("your", remote.name) if has_ipv6(them) else (f"{remote.name}'s", "you")
        has = "has" if has_ipv6(them) else "have"
        advice.append(f"switch on IPv6 in {lacking} network: {having} {has} it, and it has no NAT")
    if own.link == "websocket" and any(route.startswith("ssh") for route in failures):
        advice.append("allow TCP to the coordinator's SSH port: it is the faster relay")
    return tuple(dict.fromkeys(advice))
