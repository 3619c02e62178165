"""The page of settings is what the program says of them."""

from __future__ import annotations

import runpy
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

DOCS = Path(__file__).parent.parent / "docs"


class PageTests(SynchronousTestCase):
    """docs/settings.md."""

    def setUp(self) -> None:
        """Load what writes it."""
        self.reference = runpy.run_path(str(DOCS / "_ext" / "settings_reference.py"))
        self.text = (DOCS / "settings.md").read_text("utf-8")

    def test_up_to_date(self) -> None:
        """Its tables are those of today's program."""
        self.assertEqual(
            self.reference["page"](self.text),
            self.text,
            "run: python docs/_ext/settings_reference.py",
        )

    def test_made_anew(self) -> None:
        """Whatever stands in a table, the program's words replace it."""
        changed = self.text.replace("| `--udp-port` |", "| `--udp-harbour` |")
        self.assertNotEqual(changed, self.text)
        self.assertEqual(self.reference["page"](changed), self.text)
