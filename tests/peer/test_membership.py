"""Tests for :mod:`tunnelmesh.peer.membership`."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import ConfigError
from tunnelmesh.peer.membership import FILE, Membership, load, save

MEMBER = Membership(
    "vpn.example", 8443, 2222, bytes(32), False, "laptop", IPv4Address("100.96.0.7"), 16
)


class MembershipTests(SynchronousTestCase):
    """The file that says which mesh this machine belongs to."""

    def setUp(self) -> None:
        """An empty state directory."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_round_trip(self) -> None:
        """What is saved is loaded, and only its owner can read it."""
        self.assertIsNone(load(self.folder))
        save(self.folder, MEMBER)
        self.assertEqual(load(self.folder), MEMBER)
        self.assertEqual((self.folder / FILE).stat().st_mode & 0o777, 0o600)
        self.assertEqual([p.name for p in self.folder.iterdir()], [FILE])

    def test_damaged(self) -> None:
        """Whatever is wrong with the file, the error names it and says what to do."""
        save(self.folder, MEMBER)
        good = json.loads((self.folder / FILE).read_text())
        for damage in (
            {"prefix": 99},
            {"prefix": 0},
            {"coordinator_key": "AAAA"},
            {"address": "100.96.0.777"},
            {"host": None},
            {"stun_ports": [1.5]},
        ):
            (self.folder / FILE).write_text(json.dumps(good | damage))
            error = self.assertRaises(ConfigError, load, self.folder)
            self.assertIn("join again", str(error))
        for text in (b"", b"{", b"[]", b"null", b"\xff"):
            (self.folder / FILE).write_bytes(text)
            self.assertRaises(ConfigError, load, self.folder)

    def test_newer_version(self) -> None:
        """Fields that a newer version wrote are no damage."""
        save(self.folder, MEMBER)
        good = json.loads((self.folder / FILE).read_text())
        (self.folder / FILE).write_text(json.dumps({**good, "colour": "blue"}))
        self.assertEqual(load(self.folder), MEMBER)

    def test_cannot_be_written(self) -> None:
        """The error names the file and the reason."""
        error = self.assertRaises(ConfigError, save, self.folder / "missing", MEMBER)
        self.assertIn("No such file", str(error))
