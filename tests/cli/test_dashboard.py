"""Tests for :mod:`tunnelmesh.cli.dashboard`."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.answers import CommandTestCase

LINK = "https://203.0.113.10:8443/dashboard/#AAAA"


def answer(self_signed: bool) -> dict[str, Any]:
    """What a coordinator says."""
    certificate = ":".join(["AB"] * 32)
    return {
        "url": LINK,
        "seconds": 600.0,
        "certificate": certificate,
        "self_signed": self_signed,
    }


class DashboardTests(CommandTestCase):
    """The link is for programs, the rest for people."""

    def test_link_alone(self) -> None:
        """The link alone is on standard output; the fingerprint to compare beside it."""
        self.serve(answer(self_signed=True))
        status, out, err = self.run_command("dashboard")
        self.assertEqual((0, LINK + "\n"), (status, out))
        self.assertIn("within 10 minutes", err)
        self.assertEqual(32, err.count("AB"))

    def test_own_certificate(self) -> None:
        """Nothing is said of certificates where browsers know it."""
        self.serve(answer(self_signed=False))
        _, _, err = self.run_command("dashboard")
        self.assertNotIn("certificate", err)

    def test_json(self) -> None:
        """Programs get all of it."""
        self.serve(answer(self_signed=True))
        _, out, err = self.run_command("dashboard", "--json")
        self.assertEqual((LINK, ""), (json.loads(out)["url"], err))

    def test_not_running(self) -> None:
        """Without a coordinator, one line says so."""
        self.assertOneLine(self.run_command("dashboard"), "no TunnelMesh is running")
