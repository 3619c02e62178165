"""A coordinator that is another than it was, and one that does not know the machine any more."""

from __future__ import annotations

from tests.resilience.laboratory import ResilienceTestCase
from tunnelmesh.lab.kernel.mesh import Mesh, wait_until


class StrangersTests(ResilienceTestCase):
    """The link does not open, and why is said."""

    def test_impostor_and_amnesiac(self) -> None:
        """Somebody else's keys are refused; a lost database is told from that."""
        laptop = self.join(self.world.add_site("home", "linux"), "laptop")
        wait_until(lambda: laptop.link, "the link")
        self.mesh.coordinator.kill()
        wait_until(lambda: laptop.link is None, "the peer to notice")

        def told(route: str, words: str) -> None:
            def failures() -> dict[str, str]:
                answer: dict[str, str] = laptop.status()["coordinator"]["failures"]
                return answer

            wait_until(lambda: words in failures().get(route, ""), f"{route}: {words}")

        (self.mesh.folder / "other").mkdir()
        other = Mesh(self.world, folder=self.mesh.folder / "other").coordinator
        other.start()
        told("ssh", "not the pinned")
        told("websocket", "instead of")
        self.assertIsNone(laptop.link)
        self.assertEqual([peer["name"] for peer in other.status()["peers"]], [])
        other.kill()

        for file in self.mesh.coordinator.state_dir.glob("*.sqlite3*"):
            file.unlink()
        self.mesh.coordinator.start()
        told("ssh", "does not know")
        told("websocket", "not a member")
        self.assertIsNone(laptop.link)
