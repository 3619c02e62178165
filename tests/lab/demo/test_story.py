"""The whole story, with real services on the simulated internet."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import LabError
from tunnelmesh.lab.demo.simulated import SimulatedStage
from tunnelmesh.lab.demo.stage import Transfer
from tunnelmesh.lab.demo.story import Story
from tunnelmesh.lab.demo.view import View


def tell(stage: SimulatedStage) -> tuple[bool, str]:
    """Whether the file was intact, and all that was shown."""
    out = io.StringIO()
    with stage, View(Console(file=out, width=80), live=False) as view:
        intact = Story(stage, view).play()
    return intact, out.getvalue()


class StoryTests(SynchronousTestCase):
    """What people are told."""

    def assertTold(self, told: str, *parts: str) -> None:
        """These were said, in this order."""
        at = 0
        for part in parts:
            found = told.find(part, at)
            self.assertNotEqual(found, -1, f"{part!r} is missing or too early in:\n{told}")
            at = found + len(part)

    def test_direct(self) -> None:
        """Relayed first, then direct; the file; UDP cut and back."""
        stage = SimulatedStage(("port-restricted", "restricted-cone"), False, "no nft")
        intact, told = tell(stage)
        self.assertTrue(intact)
        self.assertTold(
            told,
            "behind a port-restricted NAT",
            "is linked to the coordinator by SSH",
            "reaches homeserver, relayed by the coordinator over SSH",
            "signals both at the same moment",
            "direct: UDP to 198.51.100.2:",
            "learns by STUN: restricted-cone",
            "is that of the original",
            "drops all UDP",
            "relayed over SSH, after",
            "lets UDP pass again",
            "direct again: UDP to 198.51.100.2:",
            "direct, UDP",
            "a direct one",
            "arrived intact",
        )

    def test_relayed(self) -> None:
        """Where punching is impossible: said in plain words, and SSH is cut instead."""
        intact, told = tell(SimulatedStage(("symmetric", "symmetric"), False, "no nft"))
        self.assertTrue(intact)
        self.assertNotIn("direct: UDP", told)
        self.assertTold(
            told,
            "because both of you are behind symmetric NATs",
            "is that of the original",
            "drops all SSH",
            "relayed over WebSocket, after",
            "relayed over SSH, without a gap",
            "no direct path is possible",
            "arrived intact",
        )

    def test_last_resort(self) -> None:
        """What has only a proxy is relayed through it, and has nothing that could be cut."""
        intact, told = tell(SimulatedStage(("proxy-auth", "open"), False, "no nft"))
        self.assertTrue(intact)
        self.assertTold(told, "by WebSocket, through the proxy ada@192.168.1.1", "arrived intact")
        self.assertNotIn("gateway drops", told)
        self.assertNotIn("cut", told)

    def test_damaged(self) -> None:
        """A file that is not the same is a failure, and said."""

        class Damaging(SimulatedStage):
            def transfer(self) -> Transfer:
                honest = super().transfer()
                return Transfer(honest.received, honest.seconds, "0" * 64)

        intact, told = tell(Damaging(("full-cone", "full-cone"), False, "no nft"))
        self.assertFalse(intact)
        self.assertTold(told, "DIFFERS", "DAMAGED")

    def test_not_joined(self) -> None:
        """Machines that never join are an error in one line, not a hang."""

        class Unplugged(SimulatedStage):
            def start_peers(self) -> None:
                super().start_peers()
                for host in self._hosts:
                    host.unplug()

        said = io.StringIO()  # by the peers that give up
        with redirect_stderr(said), self.assertRaises(LabError) as caught:
            tell(Unplugged(("full-cone", "full-cone"), False, "no nft"))
        self.assertIn("have not joined", str(caught.exception))
