"""How two NATs are to be opened towards each other, and what each side does for it."""

from __future__ import annotations

from enum import StrEnum

from tunnelmesh.nat import birthday, prediction
from tunnelmesh.nat.allocation import Choice
from tunnelmesh.nat.behaviour import Mapping, NatBehaviour, punchable
from tunnelmesh.wire.signal import Tactic


class Approach(StrEnum):
    """The ways in which a pair can get a direct path."""

    PLAIN = "plain"
    """Both send at once to where a server saw the other."""

    PREDICT = "predict"
    """Where ports depend on the destination, they are in sequence."""

    BIRTHDAY = "birthday"
    """One side's ports cannot be known; it opens many, and the other tries many."""

    HOPELESS = "hopeless"
    """Nothing that would be fair to the routers."""


def approach(a: NatBehaviour, b: NatBehaviour) -> Approach:
    """The way for two peers, whichever of them asks.

    What is not known is taken for the best case, except how ports are chosen: thousands of packets
    depend on that.
    """
    if punchable(a, b):
        return Approach.PLAIN
    dependent = [side for side in (a, b) if side.maps_by_destination]
    if not dependent or Mapping.BLOCKED in (a.mapping, b.mapping):
        return Approach.HOPELESS
    if any(side.allocation.hosts > 1 for side in dependent):
        return Approach.HOPELESS  # not even the address is known
    choices = {side.allocation.kind for side in dependent}
    if choices == {Choice.SEQUENTIAL}:
        return Approach.PREDICT
    if len(dependent) == 1 and choices <= {Choice.PRESERVED, Choice.BLOCK, Choice.RANDOM}:
        return Approach.BIRTHDAY
    return Approach.HOPELESS


def tactics(
    a: NatBehaviour, b: NatBehaviour, age_a: float = 0.0, age_b: float = 0.0
) -> tuple[Tactic, Tactic] | None:
    """What *a* does in a hard punch, and what *b*; None if there is none for them.

    :param a: one side, with its external endpoint and allocation as they are now.
    :param age_a: seconds from the last port known of *a*'s sequence until the packets leave.
    """
    if a.external is None or b.external is None:
        return None
    if not a.maps_by_destination:
        swapped = tactics(b, a, age_b, age_a) if b.maps_by_destination else None
        return None if swapped is None else (swapped[1], swapped[0])
    there = (b.external.port,)
    match approach(a, b):
        case Approach.BIRTHDAY:
            low, high = a.allocation.low, a.allocation.high
            opening = Tactic(Approach.BIRTHDAY, birthday.sockets(low, high), there)
            return opening, Tactic(Approach.BIRTHDAY, low=low, high=high)
        case Approach.PREDICT:
            ports = prediction.window(a.allocation, age_a)
            if not b.maps_by_destination:
                opening = Tactic(Approach.PREDICT, 1, there)
                return (opening, Tactic(Approach.PREDICT, ports=ports)) if ports else None
            theirs = prediction.window(b.allocation, age_b)
            if ports and theirs:
                return (
                    Tactic(Approach.PREDICT, len(ports), theirs[-1:]),
                    Tactic(Approach.PREDICT, len(theirs), ports[-1:]),
                )
    return None
