"""What the coordinator leaves behind for the command that invites."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.coordinator.advertised import FILE_NAME, Advertised
from tunnelmesh.errors import StoreError


class AdvertisedTests(SynchronousTestCase):
    """The file."""

    def setUp(self) -> None:
        self.state = Path(self.mktemp())
        self.state.mkdir()

    def test_round_trip(self) -> None:
        """What was written last is read, and no other file is left."""
        Advertised("old.example", 1, 2, False).save(self.state)
        new = Advertised("vpn.example", 8443, 2222, True)
        new.save(self.state)
        self.assertEqual(Advertised.load(self.state), new)
        self.assertEqual([file.name for file in self.state.iterdir()], [FILE_NAME])

    def test_never_ran(self) -> None:
        """Where no coordinator has run, the message says what to do."""
        error = self.assertRaises(StoreError, Advertised.load, self.state)
        self.assertIn("start it first", str(error))

    def test_damaged(self) -> None:
        """A damaged file is one clear line."""
        for text in [b"", b"{", b"{}", b"\xff", b'{"host": 3}']:
            (self.state / FILE_NAME).write_bytes(text)
            error = self.assertRaises(StoreError, Advertised.load, self.state)
            self.assertIn("restart the coordinator", str(error))

    def test_nowhere_to_write(self) -> None:
        """A folder that is not there is one clear line too."""
        gone = self.state / "gone"
        self.assertRaises(StoreError, Advertised("h", 1, 2, False).save, gone)
