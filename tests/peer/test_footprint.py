"""What a peer loads: each of its modules is a part of every start, and of the memory it takes."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

STARTED = """
import sys
from twisted.internet import reactor
import tunnelmesh.tap, tunnelmesh.peer.service
import tunnelmesh.control, tunnelmesh.peer.answers.control, tunnelmesh.peer.enrol
import tunnelmesh.transports.tls, tunnelmesh.transports.ssh.client
import tunnelmesh.tun.device
print(*sys.modules)
"""
"""Imports what a peer has imported that has joined, has a network device and is linked by SSH: some
of it only when it comes to that."""

HEAVY = {
    "aioquic": "streams, when there is one",
    "autobahn": "links by WebSocket, when SSH fails",
    "automat": "state machines of Twisted's that we do not use",
    "hyperlink": "URLs in Twisted's client for the web",
    "importlib.metadata": "the option --version",
    "numpy": "bulk traffic, when there is some",
    "prometheus_client": "the metrics, when they are wanted",
    "rich": "commands",
    "segno": "commands",
    "sqlite3": "the coordinator",
    "tomllib": "files of settings, when there is one",
    "treq": "joining, once in a machine's life",
    "tunnelmesh.cli": "commands",
    "tunnelmesh.coordinator": "the coordinator",
    "tunnelmesh.lab": "the laboratory",
    "tunnelmesh.nat.portmap.lease": "machines behind a router",
    "twisted.web": "the coordinator, joining, routers that speak UPnP, and the metrics of a peer",
    "xml.etree": "routers that speak UPnP",
}
"""What none of that needs, and what does."""


class FootprintTests(SynchronousTestCase):
    """A peer that starts."""

    def test_light(self) -> None:
        """Nothing large is loaded that a peer with a device and an SSH link can do without."""
        done = subprocess.run(
            [sys.executable, "-P", "-c", STARTED], capture_output=True, text=True, check=True
        )
        loaded = set(done.stdout.split())
        self.assertIn("tunnelmesh.peer.node", loaded)
        needless = {name: HEAVY[name] for name in HEAVY if name in loaded}
        self.assertEqual(needless, {})
