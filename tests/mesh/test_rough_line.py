"""Bulk traffic over a wire that loses, repeats and reorders, in every form."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from subprocess import PIPE

from bench.throughput.line import Line
from tests.mesh.meshes import MeshTestCase
from tunnelmesh.lab.kernel.namespaces import ip
from tunnelmesh.lab.kernel.programs import end

ROOT = Path(__file__).parents[2]

WIRE = IPv4Network("198.18.0.0/30")

BAD = ("malformed", "malformed_packets", "forged_packets")
"""Counters that only a mistake of ours, or a liar, makes count."""


class RoughLineTests(MeshTestCase):
    """TCP makes up for what is lost; what arrives is what was sent."""

    def setUp(self) -> None:
        """Two machines with a wire between them, and their tokens."""
        super().setUp()
        self.line = Line(self.world, "rough", WIRE)
        self.options = [f"--join={self.mesh.coordinator.invite(uses=2)}"]

    @contextmanager
    def rough(self) -> Iterator[Counter[str]]:
        """Lead everything between the two over the rough wire; what it tells is there at the end"""
        line, told = self.line, Counter[str]()
        argv = [sys.executable, "-m", "tests.mesh.rough_line", line.far.namespace]
        program = line.near.popen(argv, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True)
        with program.stdin, program.stdout:
            self.assertEqual(program.stdout.readline(), "ready\n")
            for host, own, others in (
                (line.near, line.near_address, [line.far_address, line.far.address]),
                (line.far, line.far_address, [line.near_address]),
            ):
                routes = [f"route add {each}/32 dev line src {own}" for each in others]
                ip(["link set line mtu 1500 up", *routes], host.namespace)
            try:
                yield told
                program.stdin.close()
                told.update(json.loads(program.stdout.readline()))
            finally:
                end([program])

    def carry(self, near_form: str, far_form: str) -> Counter[str]:
        """Fetch some megabytes each way, and see that no end has seen what it should not."""
        with self.rough() as told:
            near, far = (
                self.mesh.add_peer(host, f"--bulk={form}", *self.options)
                for host, form in ((self.line.near, near_form), (self.line.far, far_form))
            )
            self.until(
                lambda: near.path_to(far.name) == "udp" == far.path_to(near.name), "a direct path"
            )
            for client, server in (near, far), (far, near):
                self.fetch(client, server, 24_000_000)
            for peer in near, far:
                tunnel = peer.status()["tunnel"]
                self.assertEqual([tunnel[name] for name in BAD], [0, 0, 0], tunnel)
                self.assertGreater(tunnel["replayed_packets"], 0)  # the wire has repeated them
        for peer in near, far:
            peer.stop()
        for what in ("lost", "repeated", "held"):
            self.assertGreater(told[what], 0, what)
        return told

    def test_forms(self) -> None:
        """As packets; and as segments one way, the other way whole as well, in quiet stretches."""
        told = self.carry("packets", "auto")
        self.assertEqual((told["segments"], told["whole"]), (0, 0))
        self.assertGreater(told["packets"], 10_000)
        told = self.carry("segments", "auto")
        self.assertGreater(told["segments"], 5_000)
        self.assertGreater(told["whole"], 500)
