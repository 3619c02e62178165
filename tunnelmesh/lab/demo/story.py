"""What happens, act by act."""

from __future__ import annotations

from collections.abc import Callable

from tunnelmesh.errors import LabError
from tunnelmesh.lab.demo.scene import Scene, Side
from tunnelmesh.lab.demo.stage import FILE_NAME, HTTP_PORT, PING_EVERY, Stage
from tunnelmesh.lab.demo.view import View
from tunnelmesh.lab.demo.witness import Line, Mood, Witness
from tunnelmesh.lab.kernel import KINDS, connectable, punchable

JOINING = 15.0
"""Seconds for two Python programs to start and join, on a small machine."""

MEETING = 6.0
"""Seconds for a direct path, where the two NATs allow one."""

RESIGNING = 1.0
"""Seconds for one all the same, where the two NATs do not allow one."""

CLASSIFYING = 4.0
"""Seconds for both to find out what they are behind; silence takes longest."""

FETCHING = 20.0
"""Seconds for the file."""

BREATH = 0.7
"""Seconds of pings that show that all is well."""

FALLING = 4.0
"""Seconds for another path, when the one in use is cut."""

CLIMBING = 5.0
"""Seconds for the better path, once it is possible again."""

_UNDECIDED = ("is being tried", "is under way")
"""What explains says while it does not know yet."""


class Story:
    """One performance."""

    def __init__(self, stage: Stage, view: View) -> None:
        self._stage = stage
        self._view = view
        one, other = stage.machines
        self._scene = Scene(stage.coordinator, (Side(one), Side(other)), size=stage.size)
        self._witness = Witness(stage, self._scene)
        self._before: int | None = None
        self._pinging = False
        kinds = KINDS[one.kind], KINDS[other.kind]
        self._hopeful = punchable(*kinds) or connectable(*kinds)

    def play(self) -> bool:
        """Tell it all.

        :returns: whether the file arrived intact.
        :raises LabError: something that has to happen does not.
        """
        self._introduce()
        self._join()
        self._meet()
        intact = self._fetch()
        self._break()
        self._view.draw(self._scene)
        self._sum_up(intact)
        return intact

    def _introduce(self) -> None:
        self._view.show(self._scene)
        self._view.title("Two machines that cannot reach each other")
        for side in self._scene.sides:
            machine = side.machine
            self._tell(machine.name, f"is {side.behind}")
        self._stage.start_coordinator()
        self._scene.serving = True
        self._tell("coordinator", f"serves at {self._scene.coordinator}, where both can reach it")

    def _join(self) -> None:
        self._view.title("They join, and meet")
        self._stage.start_peers()
        if not self._until(lambda: all(side.link for side in self._scene.sides), JOINING):
            raise LabError(f"the machines have not joined within {JOINING:g} s")

    def _meet(self) -> None:
        if not self._until(lambda: all(side.path for side in self._scene.sides), JOINING):
            raise LabError(f"the machines have not found each other within {JOINING:g} s")
        self._until(lambda: self._scene.is_direct, MEETING if self._hopeful else RESIGNING)
        self._until(self._is_classified, CLASSIFYING)
        if not self._scene.is_direct:
            self._until(self._is_decided, CLASSIFYING)
            self._tell(self._here.machine.name, self._why_relayed(), "relayed")

    def _is_decided(self) -> bool:
        """Whether they have met since they know their NATs, and know why they are not direct."""
        return not any(words in self._why_relayed() for words in _UNDECIDED)

    def _is_classified(self) -> bool:
        return all(side.flavour != "unknown" for side in self._scene.sides)

    def _why_relayed(self) -> str:
        here, there = self._scene.sides
        verdict = self._stage.ask(here.machine.name, "explain", peer=there.machine.name)
        return "no direct path" if verdict is None else f"explains: {verdict['summary']}"

    def _fetch(self) -> bool:
        stage, scene = self._stage, self._scene
        here, there = scene.sides
        self._view.title("An ordinary program uses the mesh")
        stage.fetch(there.address)
        self._tell(here.machine.name, f"GET http://{there.address}:{HTTP_PORT}/{FILE_NAME}")

        def arrived() -> bool:
            scene.transfer = stage.transfer()
            return scene.transfer.seconds is not None

        if not self._until(arrived, FETCHING):
            raise LabError(f"the file has not arrived within {FETCHING:g} s")
        assert scene.transfer is not None
        assert scene.transfer.seconds is not None
        size, seconds = scene.transfer.received, scene.transfer.seconds
        rate = size * 8 / 1e6 / seconds
        text = f"has {size / 1e6:.1f} MB after {seconds:.2f} s: {rate:.0f} Mbit/s"
        self._tell(here.machine.name, text)
        intact = scene.transfer.sha256 == stage.sha256
        if intact:
            self._tell(here.machine.name, f"SHA-256 {stage.sha256[:16]}… is that of the original")
        else:
            self._tell(here.machine.name, "SHA-256 DIFFERS from that of the original", "broken")
        return intact

    def _break(self) -> None:
        """Cut what carries the traffic, and let it pass again, while the machines are pinging."""
        stage, scene = self._stage, self._scene
        here, there = scene.sides
        carrier = here.path
        if carrier not in ("udp", "ssh"):
            return  # the last resort: there is nothing to fall back to
        what = "UDP" if carrier == "udp" else "SSH"
        self._view.title("The path breaks, and heals")
        stage.ping(there.address)
        self._pinging = True
        self._tell(here.machine.name, f"pings {there.address} {1 / PING_EVERY:.0f} times a second")
        self._watch(BREATH)
        stage.cut(carrier)
        scene.cut = carrier
        self._tell(here.machine.place, f"its gateway drops all {what} from now on", "broken")
        before = self._before = len(self._witness.changes)
        self._until(lambda: len(self._witness.changes) > before, FALLING)
        self._watch(BREATH)
        stage.restore()
        scene.cut = None
        self._tell(here.machine.place, f"its gateway lets {what} pass again")
        self._until(lambda: here.path == carrier, CLIMBING)
        self._watch(BREATH)
        answers = stage.answers()
        sent = max((number for number, _ in answers), default=0)
        self._tell(here.machine.name, f"pinged {sent} times, {len(answers)} answers")

    def _sum_up(self, intact: bool) -> None:
        say = self._view.say
        self._view.title("What you saw")
        direct = [each["at"] for each in self._witness.changes if each["to"][:3] in ("udp", "tcp")]
        if direct:
            later = direct[0] - self._witness.changes[0]["at"]
            say(f"  Their first path was relayed; {later:.2f} s later they had a direct one.")
        else:
            say("  Between their networks no direct path is possible: the coordinator relayed.")
        say("  The coordinator could read nothing: only the two machines have the keys.")
        say(f"  The file arrived {'intact' if intact else 'DAMAGED'}.")
        if self._before is not None:
            cost = max(
                (each["outage_ms"] for each in self._witness.changes[self._before :]), default=0
            )
            say(f"  When their path was cut, they missed each other for {cost} ms.")

    @property
    def _here(self) -> Side:
        return self._scene.sides[0]

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Watch until something is so.

        :returns: whether it came to be.
        """
        deadline = self._stage.now() + seconds
        while True:
            for line in self._witness.look():
                self._view.tell(line)
            if self._pinging:
                self._scene.pong = next(reversed(self._stage.answers()), None)
            self._view.show(self._scene)
            if condition():
                return True
            if self._stage.now() > deadline:
                return False
            self._stage.let_pass()

    def _watch(self, seconds: float) -> None:
        """Let some time pass, and miss nothing."""
        self._until(lambda: False, seconds)

    def _tell(self, who: str, text: str, mood: Mood = "plain") -> None:
        now = self._witness.since_began(self._stage.now())
        self._view.tell(Line(now, who, text, mood))
        self._view.show(self._scene)
