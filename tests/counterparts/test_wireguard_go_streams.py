"""TCP streams through our data plane and a real wireguard-go, with and without offloads."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from bench.throughput.line import OFFLOADS
from tests.counterparts.data_plane import KEY, OUR_PORT, SIZE
from tests.counterparts.wireguard_go import WireguardGo
from tunnelmesh.noise.primitives import StaticKey

PACKETS = 2 * SIZE // 1420
"""Packets of two streams, at least."""


class StreamTests(SynchronousTestCase):
    """Two streams, over IPv4 and IPv6, both ways at once: every byte, and no checksum wrong."""

    def setUp(self) -> None:
        self.theirs = WireguardGo(f"tmst{os.getpid()}")
        self.addCleanup(self.theirs.stop)
        public = StaticKey(KEY).public
        self.theirs.configure(public, endpoint=f"127.0.0.1:{OUR_PORT}")

    def carry(self, *without: str) -> dict[str, Any]:
        """Let the streams pass."""
        program = [sys.executable, "-m", "tests.counterparts.data_plane"]
        path = f"PYTHONPATH={os.pathsep.join(sys.path)}"
        said = self.theirs.run("env", path, *program, self.theirs.public_key.hex(), *without)
        told: dict[str, Any] = json.loads(said)
        self.assertEqual(told["received"], [told["sent"]] * 2)
        self.assertEqual((told["refused"], told["dropped"], told["damaged"]), (0, {}, 0), told)
        snmp = self.theirs.run("cat", "/proc/net/snmp").splitlines()
        names, values = (line.split() for line in snmp if line.startswith("Tcp:"))
        self.assertEqual(values[names.index("InCsumErrors")], "0")
        return told

    def test_offloads(self) -> None:
        """Super-packets leave the kernel, and most of what arrives is put together again: what
        comes in flights, within these."""
        told = self.carry()
        if told["lacking"] or not told["segmentation"]:
            raise SkipTest(f"needs offloads: {told['lacking']}")
        self.assertGreater(told["super_packets"], 2 * SIZE / 65536)
        self.assertGreater(told["flights"], 0)
        self.assertLess(told["written"], PACKETS / 2)

    def test_plain_device(self) -> None:
        """Only the socket has offloads."""
        told = self.carry("plain-device")
        self.assertEqual((told["super_packets"], told["flights"]), (0, 0))
        self.assertGreaterEqual(told["written"], PACKETS)

    def test_plain_datagrams(self) -> None:
        """Only the device has offloads."""
        self.assertFalse(self.carry("plain-datagrams")["segmentation"])

    def test_plain(self) -> None:
        """Without any, here or there."""
        self.theirs.run(sys.executable, "-IS", str(OFFLOADS), self.theirs.name)
        self.assertEqual(self.carry("plain-device", "plain-datagrams")["super_packets"], 0)
