"""The picture and the lines, as a terminal gets them."""

from __future__ import annotations

import io

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from tests.lab.demo.recorded import MACHINES, status
from tunnelmesh.lab.demo.picture import picture
from tunnelmesh.lab.demo.scene import Scene, Side
from tunnelmesh.lab.demo.stage import Transfer
from tunnelmesh.lab.demo.view import View
from tunnelmesh.lab.demo.witness import Line


def scene(link: str | None = None, path: str | None = None) -> Scene:
    """Both machines in the same state."""
    one, other = (Side(each, status(each.name, link, path) if link else {}) for each in MACHINES)
    return Scene("203.0.113.10", (one, other), serving=True, size=1000)


class PictureTests(SynchronousTestCase):
    """Who is behind what, and what carries the traffic."""

    def draw(self, scene: Scene) -> list[str]:
        """The picture's lines; all are as wide as each other."""
        rows = picture(scene).plain.split("\n")
        self.assertEqual({len(row) for row in rows}, {76})
        return rows

    def shows(self, scene: Scene, *parts: str) -> None:
        """All of these are in it."""
        drawn = "\n".join(self.draw(scene))
        for part in parts:
            self.assertIn(part, drawn)

    def test_before(self) -> None:
        """Before they have joined: the NATs and addresses, and no paths."""
        before = scene()
        self.shows(
            before,
            "coordinator",
            "203.0.113.10",
            "─ home ─",
            "port-restricted NAT",
            "198.51.100.1",
            "symmetric NAT",
            "192.168.2.2",
            "not in the mesh yet",
        )
        self.assertNotIn("SSH", picture(before).plain)
        self.assertNotIn("path", picture(before).plain)

    def test_relayed(self) -> None:
        """Relayed: the links carry it, and there is no direct path."""
        relayed = scene("websocket", "websocket")
        self.shows(relayed, " WebSocket ", "no direct path", "relayed 2.4 ms", "mesh 100.96.0.1")
        self.assertIn("bold yellow", {str(span.style) for span in picture(relayed).spans})

    def test_direct(self) -> None:
        """Direct: an arrow between the machines."""
        direct = scene("ssh", "udp")
        self.shows(direct, "direct, UDP", "◀━", "━▶", "2.4 ms")
        styles = {str(span.style) for span in picture(direct).spans}
        self.assertIn("bold green", styles)
        self.assertNotIn("bold yellow", styles)

    def test_one_end_direct(self) -> None:
        """A path is direct when both ends say so."""
        half = scene("ssh", "udp")
        half.sides[1].status = status("homeserver", "ssh", "ssh")
        self.assertNotIn("direct, UDP", picture(half).plain)

    def test_transfer(self) -> None:
        """A file on its way."""
        fetching = scene("ssh", "udp")
        fetching.transfer = Transfer(500)
        self.shows(fetching, "████████░░░░░░░░")

    def test_cut(self) -> None:
        """A gateway that drops something says so."""
        cut = scene("ssh", "ssh")
        cut.cut, cut.pong = "udp", (31, 1.25)
        self.shows(cut, "drops UDP", "ping 31", "1.2 ms")


class ViewTests(SynchronousTestCase):
    """Lines above, the picture below."""

    def test_plain(self) -> None:
        """Not on a terminal: lines as they come, never wrapped, and no pictures in between."""
        out = io.StringIO()
        with View(Console(file=out, width=40), live=False) as view:
            view.show(scene("ssh", "udp"))
            view.title("An act")
            view.tell(Line(1.5, "laptop", "is [bold] " + "long " * 20, "broken"))
        self.assertEqual(
            out.getvalue(), "\nAn act\n   1.50  laptop       is [bold] " + "long " * 20 + "\n"
        )

    def test_live(self) -> None:
        """On a terminal: lines wrap beside their column, above the picture, which is taken away."""
        out = io.StringIO()
        console = Console(file=out, width=80, height=30, force_terminal=True, record=True)
        with View(console, live=True) as view:
            view.tell(Line(1.5, "laptop", "word " * 20, "direct"))
            view.show(scene("ssh", "udp"))
        self.assertIn("direct, UDP", out.getvalue())
        lines = [line.rstrip() for line in console.export_text().splitlines()]
        self.assertEqual(lines[0], "   1.50  laptop       " + ("word " * 11).rstrip())
        self.assertEqual(lines[1], " " * 22 + ("word " * 9).rstrip())
