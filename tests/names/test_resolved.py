"""Tests for :mod:`tunnelmesh.names.resolved`, with a ``resolvectl`` of our own."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.names.directory import zone
from tunnelmesh.lab.sim import Internet
from tunnelmesh.names import resolved as module
from tunnelmesh.names.resolved import Resolved, by_hand
from tunnelmesh.wire.endpoint import Endpoint

SERVER = Endpoint("100.96.0.1", 53)


class ResolvedTests(TestCase):
    """What systemd-resolved is told, and what it may answer."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        path = f"{self.folder}:{os.environ['PATH']}"
        self.resolved = Resolved(reactor, {"PATH": path, "TOLD": str(self.folder / "told")})

    def install(self, script: str = "") -> None:
        """Put a ``resolvectl`` in place, which writes down what it is told."""
        program = self.folder / "resolvectl"
        program.write_text(f'#!/bin/sh\necho "$@" >> "$TOLD"\n{script}\n')
        program.chmod(0o755)

    def told(self) -> list[str]:
        """What it was told."""
        return (self.folder / "told").read_text().splitlines()

    async def test_told(self) -> None:
        """The link's server is used for the mesh's names only, and last of all."""
        self.install()
        self.assertTrue(self.resolved.is_here)
        self.assertEqual(await self.resolved.use("tm7", SERVER, zone().apexes), "")
        told = self.told()
        self.assertEqual(
            told[0], "domain tm7 mesh ~96.100.in-addr.arpa ~3.7.5.6.d.6.d.6.4.7.d.f.ip6.arpa"
        )
        self.assertIn("default-route tm7 no", told)
        self.assertEqual(told[-1], "dns tm7 100.96.0.1")

    def test_another_network(self) -> None:
        """It is not told from within another network namespace, where links have other numbers."""
        self.install()
        self.patch(module, "OWN_NETWORK", self.folder)
        self.patch(module, "FIRST_NETWORK", self.folder / "resolvectl")
        self.assertFalse(self.resolved.is_here)
        self.patch(module, "FIRST_NETWORK", self.folder / "nothing")
        self.assertTrue(self.resolved.is_here)

    async def test_other_port(self) -> None:
        """A server at another port is told with it."""
        self.install()
        await self.resolved.use("tm7", Endpoint("100.96.0.1", 10053), ["mesh"])
        self.assertEqual(self.told()[-1], "dns tm7 100.96.0.1:10053")
        self.assertIn("dns tm7 100.96.0.1:10053", by_hand("tm7", Endpoint("100.96.0.1", 10053)))

    async def test_reverted(self) -> None:
        """It can be taken back."""
        self.install()
        self.assertEqual(await self.resolved.revert("tm7"), "")
        self.assertEqual(self.told(), ["revert tm7"])

    async def test_refused(self) -> None:
        """The last line of what it complains of is the reason, and nothing else is told."""
        self.install('echo first >&2; echo "Failed to set: Access denied" >&2; exit 1')
        wrong = await self.resolved.use("tm7", SERVER, ["mesh"])
        self.assertEqual(wrong, "Failed to set: Access denied")
        self.assertEqual(len(self.told()), 1)

    async def test_silent_failure(self) -> None:
        """Without a word there still is a reason; many words are cut."""
        self.install("exit 3")
        self.assertIn("3", await self.resolved.use("tm7", SERVER, ["mesh"]))
        self.install("yes complaint | head -c 200000 | tr -d '\\n' >&2; exit 3")
        wrong = await self.resolved.use("tm7", SERVER, ["mesh"])
        self.assertEqual(len(wrong), module.MOST_WORDS)

    async def test_hanging(self) -> None:
        """If it does not answer, nobody waits for long."""
        self.patch(module, "PATIENCE", 0.2)
        self.install("exec sleep 3")
        self.assertIn("no answer", await self.resolved.use("tm7", SERVER, ["mesh"]))

    def test_absent(self) -> None:
        """Without the command, or in a simulation, there is nobody to tell."""
        self.assertFalse(Resolved(reactor, {"PATH": str(self.folder)}).is_here)
        self.assertFalse(Resolved(reactor, {}).is_here)
        self.install()
        internet = Internet(seed=1)
        host = internet.host("198.51.100.1")
        self.assertFalse(Resolved(host, {"PATH": str(self.folder)}).is_here)
