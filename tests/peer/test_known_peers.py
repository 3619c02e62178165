"""Tests for :mod:`tunnelmesh.peer.known_peers`."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.errors import ConfigError, UnknownPeerError
from tunnelmesh.peer.known_peers import FILE, KnownPeers, Pin

ONE, TWO = IPv4Address("100.96.0.1"), IPv4Address("100.96.0.2")
HOME = Pin(bytes(32), ONE)
OTHER_KEY = Pin(bytes([1] * 32), ONE)
OTHER_ADDRESS = Pin(bytes(32), TWO)
TEXT = "A" * 43 + "="


class KnownPeersTests(SynchronousTestCase):
    """Keys and addresses pinned at first sight."""

    def setUp(self) -> None:
        """An empty state directory."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.known = KnownPeers(self.folder)

    def test_first_sight(self) -> None:
        """What a name comes with first is believed, and remembered by the next process."""
        self.assertEqual(self.known.believe({"home": HOME}), {})
        again = KnownPeers(self.folder)
        self.assertEqual(again.believe({"home": HOME}), {})
        self.assertEqual(list(again.believe({"home": OTHER_KEY})), ["home"])
        self.assertEqual((self.folder / FILE).stat().st_mode & 0o777, 0o600)

    def test_another_key(self) -> None:
        """Another key for a known name is strange, and does not replace the first."""
        self.known.believe({"home": HOME})
        strange = self.known.believe({"home": OTHER_KEY, "new": OTHER_ADDRESS})
        self.assertEqual(list(strange), ["home"])
        self.assertIn("another key", strange["home"])
        self.assertIn("tunnelmesh forget home", strange["home"])
        self.assertEqual(self.known.believe({"home": HOME}), {})

    def test_another_address(self) -> None:
        """A known name does not move to another address."""
        self.known.believe({"home": HOME})
        self.assertIn("another address", self.known.believe({"home": OTHER_ADDRESS})["home"])

    def test_somebody_elses_address(self) -> None:
        """A new name does not get an address that is known, nor do two new ones get the same."""
        self.known.believe({"home": HOME})
        strange = self.known.believe({"thief": OTHER_KEY})
        self.assertIn("tunnelmesh forget home", strange["thief"])
        pair = {"a": Pin(bytes([2] * 32), TWO), "b": Pin(bytes([3] * 32), TWO)}
        self.assertEqual(list(self.known.believe(pair)), ["b"])

    def test_another_name(self) -> None:
        """A known key at its address may have another name; the former one stays its own."""
        self.known.believe({"home": HOME})
        self.assertEqual(self.known.believe({"attic": HOME}), {})
        again = KnownPeers(self.folder)
        for name in ("home", "attic"):
            self.assertEqual(list(again.believe({name: OTHER_KEY})), [name])
            self.assertEqual(again.believe({name: HOME}), {})

    def test_name_of_another(self) -> None:
        """A known key does not get a name that is pinned to another key."""
        bank = Pin(bytes([2] * 32), TWO)
        self.known.believe({"home": HOME, "bank": bank})
        self.assertIn("another key", self.known.believe({"bank": HOME})["bank"])

    def test_forget(self) -> None:
        """A forgotten name may come with another key."""
        self.known.believe({"home": HOME})
        self.known.forget("home")
        self.assertEqual(self.known.believe({"home": OTHER_KEY}), {})
        self.assertRaises(UnknownPeerError, self.known.forget, "nobody")

    def test_damaged(self) -> None:
        """A damaged file is never taken for fewer pins: the line is named."""
        for line in (
            "home",
            f"home {TEXT}",
            "home !!! 100.96.0.2",
            "home AAAA 100.96.0.2",
            f"home {TEXT} 100.96.0",
            f"two words {TEXT} 100.96.0.2",
            f"Ho\x00me {TEXT} 100.96.0.2",
            "",
        ):
            (self.folder / FILE).write_text(f"good {TEXT} 100.96.0.1\n{line}\n")
            error = self.assertRaises(ConfigError, KnownPeers, self.folder)
            self.assertIn("line 2", str(error), line)

    def test_not_text(self) -> None:
        """Bytes that are no text are a clear error too."""
        (self.folder / FILE).write_bytes(b"\xff\xfe\x00")
        self.assertRaises(ConfigError, KnownPeers, self.folder)

    def test_cannot_be_written(self) -> None:
        """Where nothing can be written, the pin holds as long as the process lives."""
        known = KnownPeers(self.folder / "missing")
        self.assertEqual(known.believe({"home": HOME}), {})
        self.assertEqual(list(known.believe({"home": OTHER_KEY})), ["home"])
