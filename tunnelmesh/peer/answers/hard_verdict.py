"""Why a pair that plain punching cannot connect is not direct: in words."""

from __future__ import annotations

from tunnelmesh.nat.allocation import Choice
from tunnelmesh.nat.behaviour import NatBehaviour
from tunnelmesh.nat.tactics import Approach, approach
from tunnelmesh.peer.pair.hard_punch import HardPunch
from tunnelmesh.peer.pair.remote import Remote


def because(remote: Remote, you: NatBehaviour, they: NatBehaviour) -> str:
    """The reason, to go after "relayed, ".

    :param you: this machine's NAT, of a pair that :func:`~tunnelmesh.nat.behaviour.punchable` says
        cannot be punched; one of the two maps by destination.
    """
    last = remote.pursuit.hard.last
    if last is not None and last.outcome is None:
        return f"while ports are being guessed, with {last.probes} probes so far"
    if you.maps_by_destination:
        sits, other, symmetric = "you sit", remote.name, you
    else:
        sits, other, symmetric = f"{remote.name} sits", "you", they
    nat = f"because {sits} behind a symmetric NAT"
    if approach(you, they) is not Approach.HOPELESS:
        if last is None:
            return f"{nat}; its ports can be guessed, which is about to be tried"
        return f"{nat}, and guessing its ports was in vain: {last.outcome}; it is tried again later"
    if you.maps_by_destination and they.maps_by_destination:
        return (
            "because both of you are behind symmetric NATs: neither can know the other's port, "
            "and to guess both at once would take more than a hundred thousand probes"
        )
    if symmetric.allocation.hosts > 1:
        return f"{nat} that has several external addresses, of which {other} cannot know the next"
    if symmetric.allocation.kind == Choice.UNKNOWN:
        return f"{nat}, and it is not known how that chooses the port which {other} would need"
    return f"{nat}, whose port {other} would have to know first"


def evidence(punch: HardPunch) -> str:
    """What the last attempt to guess ports came to."""
    so_far = punch.outcome or "under way"
    return f"guessing ports ({punch.tactic.style}): {punch.probes} probes sent, {so_far}"
