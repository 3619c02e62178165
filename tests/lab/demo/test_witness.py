"""What services say, in words."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.lab.demo.recorded import MACHINES, status
from tunnelmesh.lab.demo.scene import Scene, Side
from tunnelmesh.lab.demo.witness import Witness


class Stage:
    """Answers what a test tells it to."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.answers: dict[tuple[str, str], Any] = {}

    def now(self) -> float:
        """Unix time."""
        return self.time

    def ask(self, name: str, question: str, **query: str) -> Any:
        """The answer, or None."""
        return self.answers.get((name, question))


def change(at: float, before: str, after: str, outage_ms: int | None = 0) -> dict[str, Any]:
    """A change of path as ``history`` has it."""
    return {"at": at, "from": before, "to": after, "cause": "a reason", "outage_ms": outage_ms}


class WitnessTests(SynchronousTestCase):
    """What is new, once, in order."""

    def setUp(self) -> None:
        self.stage = Stage()
        one, other = MACHINES
        self.scene = Scene("203.0.113.10", (Side(one), Side(other)))
        self.witness = Witness(self.stage, self.scene)  # type: ignore[arg-type]

    def look(self, at: float) -> list[tuple[float, str, str]]:
        """What is new at a time."""
        self.stage.time = 1000 + at
        lines = self.witness.look()
        return [(round(line.at, 3), line.who, line.text) for line in lines]

    def test_nobody_answers(self) -> None:
        """Nothing is said of peers that have not joined."""
        self.assertEqual(self.look(1), [])

    def test_joins(self) -> None:
        """A peer joins, is linked, and learns what it is behind; each is said once."""
        self.look(1)
        self.stage.answers["laptop", "status"] = status("laptop", "ssh", None)
        self.assertEqual(
            self.look(2),
            [
                (1.0, "laptop", "joins with its invitation: it is 100.96.0.1"),
                (1.0, "laptop", "is linked to the coordinator by SSH"),
                (
                    1.0,
                    "laptop",
                    "learns by STUN: port-restricted, seen as 198.51.100.1:4242",
                ),
            ],
        )
        self.assertEqual(self.look(3), [])

    def test_meets(self) -> None:
        """Path changes and the signal are told when they happened, not when they were seen."""
        self.stage.answers["laptop", "history"] = [
            change(1001.1, "none", "ssh relay"),
            change(1001.3, "ssh relay", "udp 198.51.100.2:7"),
        ]
        for name in ("laptop", "homeserver"):
            answer = status(name, "ssh", "udp")
            answer["peers"][0]["signalled_s"] = 0.8
            self.stage.answers[name, "status"] = answer
        told = [line for line in self.look(2) if line[0] > 0]
        self.assertEqual(
            told,
            [
                (1.1, "laptop", "reaches homeserver, relayed by the coordinator over SSH"),
                (1.2, "coordinator", "signals both at the same moment: punch now"),
                (1.3, "laptop", "direct: UDP to 198.51.100.2:7, after 4 probes"),
            ],
        )

    def test_outage(self) -> None:
        """A change is told once it is known what it cost."""
        history = [change(1001.0, "udp 198.51.100.2:7", "ssh relay", None)]
        self.stage.answers["laptop", "history"] = history
        self.assertEqual(self.look(2), [])
        history[0]["outage_ms"] = 258
        history.append(change(1002.5, "ssh relay", "websocket relay"))
        history.append(change(1002.7, "websocket relay", "none"))
        self.assertEqual(
            [text for _, _, text in self.look(3)],
            [
                "relayed over SSH, after 258 ms of silence",
                "relayed over WebSocket, without a gap",
                "has no path to homeserver: a reason",
            ],
        )
        self.assertEqual(self.witness.changes, history)
