"""Puts what the services say of themselves into words, as it changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tunnelmesh.lab.demo.scene import LINKS, Scene, Side
from tunnelmesh.lab.demo.stage import Stage

Mood = Literal["plain", "direct", "relayed", "broken"]


@dataclass(frozen=True)
class Line:
    """One thing that happened.

    :ivar at: when, in seconds since the story began.
    :ivar who: the name of a machine or a place.
    """

    at: float
    who: str
    text: str
    mood: Mood = "plain"


class Witness:
    """Looks at both peers again and again.

    :ivar changes: every change of the first machine's path, as ``tunnelmesh history`` has it.
    :ivar began: Unix time at which the story began.
    """

    def __init__(self, stage: Stage, scene: Scene) -> None:
        self.changes: list[dict[str, Any]] = []
        self.began = stage.now()
        self._stage = stage
        self._scene = scene
        self._told: dict[tuple[str, str], object] = {}
        self._looked_at = 0.0

    def since_began(self, unix: float) -> float:
        """Seconds since the story began."""
        return max(unix - self.began, 0.0)

    def look(self) -> list[Line]:
        """Ask both peers, and say what is new, in the order in which it happened."""
        one, other = self._scene.sides
        changes = self._stage.ask(one.machine.name, "history", peer=other.machine.name) or []
        lines: list[Line] = []
        for side in self._scene.sides:
            answer = self._stage.ask(side.machine.name, "status")
            if answer is not None:
                side.status = answer
                lines += self._about(side)
        lines += self._signalled()
        lines += self._changed(changes)
        self._looked_at = self.since_began(self._stage.now())
        return sorted(lines, key=lambda line: line.at)

    def _is_new(self, who: str, what: str, value: object) -> bool:
        if self._told.get((who, what)) == value:
            return False
        self._told[who, what] = value
        return True

    def _about(self, side: Side) -> Iterator[Line]:
        # It became so since the look before: whatever it led to is later.
        name, now = side.machine.name, self._looked_at
        if self._is_new(name, "address", side.address):
            yield Line(now, name, f"joins with its invitation: it is {side.address}")
        if side.link and self._is_new(name, "link", side.link):
            proxy = side.status["coordinator"]["proxy"]
            through = f", through the proxy {proxy}" if proxy else ""
            yield Line(now, name, f"is linked to the coordinator by {LINKS[side.link]}{through}")
        if side.flavour != "unknown" and self._is_new(name, "flavour", side.flavour):
            seen = side.status["nat"]["external"]
            answer = f"seen as {seen}" if seen else "no answer"
            yield Line(now, name, f"learns by STUN: {side.flavour}, {answer}")

    def _signalled(self) -> Iterator[Line]:
        one, other = (side.other.get("signalled_s") for side in self._scene.sides)
        if one is not None and other is not None and self._is_new("coordinator", "signal", True):
            at = self.since_began(self._stage.now() - min(one, other))
            yield Line(at, "coordinator", "signals both at the same moment: punch now")

    def _changed(self, changes: list[dict[str, Any]]) -> Iterator[Line]:
        name = self._scene.sides[0].machine.name
        for change in changes[len(self.changes) :]:
            if change["outage_ms"] is None:
                return  # told when it is over, and known what it cost
            self.changes.append(change)
            text, mood = self._in_words(change)
            yield Line(self.since_began(change["at"]), name, text, mood)

    def _in_words(self, change: dict[str, Any]) -> tuple[str, Mood]:
        here, there = self._scene.sides
        name = there.machine.name
        before, after = change["from"], change["to"]
        outage = change["outage_ms"]
        gap = f"after {outage} ms of silence" if outage else "without a gap"
        if after == "none":
            return f"has no path to {name}: {change['cause']}", "broken"
        carrier, _, at = after.partition(" ")
        if carrier in ("udp", "tcp"):
            where = f"{carrier.upper()} to {at}"
            if self._is_new(name, "direct", True):
                return f"direct: {where}, after {here.other['probes']} probes", "direct"
            return f"direct again: {where}, {gap}", "direct"
        over = LINKS[after.removesuffix(" relay")]
        if before == "none":
            return f"reaches {name}, relayed by the coordinator over {over}", "relayed"
        return f"relayed over {over}, {gap}", "relayed"
