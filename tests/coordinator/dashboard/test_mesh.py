"""The dashboard of a mesh of real peers, on the simulated internet."""

from __future__ import annotations

import json
from typing import Any

from tests.peer.world import WorldTestCase, remote
from tunnelmesh.coordinator.dashboard.dashboard import Dashboard
from tunnelmesh.coordinator.dashboard.viewers import LINGER
from tunnelmesh.errors import TunnelMeshError
from tunnelmesh.peer.answers import control


class Page:
    """A viewer that remembers what it is shown."""

    session = ""
    stale = True
    full = False
    heard = told = 0.0

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {"peers": {}, "paths": {}}
        self.changes: list[dict[str, Any]] = []

    def say(self, message: bytes) -> None:
        """Take it in, as the page's script does."""
        told = json.loads(message)
        for name, rows in self.rows.items():
            rows.update(told.get(name, {}))
        self.changes += told.get("changes", [])

    def sendPing(self) -> None:
        """It is there."""
        self.heard = float("inf")


class MeshTests(WorldTestCase):
    """Peers behind NATs."""

    def open(self) -> Page:
        """A page is opened."""
        assert self.coordinator.service is not None
        dashboard = self.coordinator.service.dashboard
        assert isinstance(dashboard, Dashboard)
        page: Any = Page()
        self.patch(dashboard._viewers, "is_signed_in", lambda viewer: True)
        dashboard._viewers.opened(page)
        self.close = lambda: dashboard._viewers.closed(page)
        return page  # type: ignore[no-any-return]

    def test_live(self) -> None:
        """Names, NATs and paths of both peers are seen, and a change of path within a second."""
        here, there = self.pair()
        page = self.open()
        self.until(lambda: page.rows["paths"])
        self.internet.run(2)
        names = {row["name"]: row for row in page.rows["peers"].values()}
        self.assertEqual({"here", "there"}, set(names))
        self.assertEqual("port-restricted", names["here"]["nat"])
        (row,) = page.rows["paths"].values()
        self.assertEqual(["udp", "udp"], row["kinds"])
        self.assertGreater(row["rtt"], 1)
        for nat in self.nats:
            nat.block(udp=True)
        remote(here, "there").send([b"\x45" + bytes(19)])
        self.until(lambda: "udp" not in (here.path_to("there"), there.path_to("here")), 60)
        self.internet.run(1.3)
        (row,) = page.rows["paths"].values()
        self.assertNotEqual("udp", row["kind"])
        self.assertIn("path", [change["what"] for change in page.changes])

    def test_traffic(self) -> None:
        """Throughput is seen while there is some, and its end soon after."""
        here, _ = self.pair()
        page = self.open()
        for _ in range(80):
            remote(here, "there").send([b"\x45" + bytes(999)])
            self.internet.run(0.1)
        (row,) = page.rows["paths"].values()
        self.assertGreater(max(row["rates"]), 9_000)
        self.assertLess(max(row["rates"]), 11_000)
        self.internet.run(10)
        (row,) = page.rows["paths"].values()
        self.assertLess(max(row["rates"]), 50)  # the tunnel itself says a word now and then

    def test_silent_after(self) -> None:
        """Once the last page is closed, peers report no more."""
        here, _ = self.pair()
        self.open()
        self.internet.run(5)
        self.close()
        self.internet.run(LINGER + 1)
        sent: list[Any] = []
        assert here.node is not None
        self.patch(here.node.reporting, "_send", sent.append)
        for _ in range(10):
            remote(here, "there").send([b"\x45" + bytes(999)])
            self.internet.run(1)
        self.assertEqual([], sent)

    def test_peer_has_none(self) -> None:
        """Asked for a dashboard, a peer says who has it."""
        here = self.add("here")
        routes = control.routes(here.service, here.host)  # type: ignore[arg-type]
        error = self.assertRaises(TunnelMeshError, routes["/dashboard"], {})
        self.assertIn("for the coordinator", str(error))

    def test_newcomer(self) -> None:
        """Who joins while a page is open is seen with its paths."""
        self.pair()
        page = self.open()
        self.internet.run(3)
        self.add("third")
        self.until(lambda: len(page.rows["paths"]) == 3, 30)
        self.assertIn("joined", [change["what"] for change in page.changes[-3:]])
