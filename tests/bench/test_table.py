"""Figures become medians, ratios and tables."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.throughput.measures import FIGURES, Figures
from bench.throughput.table import medians, ratios, table

ROUNDS: dict[str, list[Figures]] = {
    "raw": [{"out": 9000.0}, {"out": 10000.0}, {"out": 8000.0}],
    "one": [{"out": 4500.0, "cpu": 2.0, "idle": 0.5}, {"out": 4000.0, "cpu": 1.0}, {}],
    "other": [{"out": 2000.0, "cpu": 4.0}, {"out": None}, {"out": 3000.0, "cpu": 8.0}],
}


class TableTests(SynchronousTestCase):
    """Medians, ratios, and what people see of them."""

    def test_medians(self) -> None:
        """Each figure's own, of the rounds in which it was had."""
        found = medians(ROUNDS)
        self.assertEqual(found["raw"], {"out": 9000.0})
        self.assertEqual(found["one"], {"out": 4250.0, "cpu": 1.5, "idle": 0.5})
        self.assertEqual(found["other"], {"out": 2500.0, "cpu": 6.0})

    def test_ratios(self) -> None:
        """Multiples of one system's; none of what it lacks, or what cannot be compared."""
        found = ratios(medians(ROUNDS), "other")
        self.assertEqual(found["one"], {"out": 1.7, "cpu": 0.25})
        self.assertEqual(found["other"], {"out": 1.0, "cpu": 1.0})
        self.assertEqual(ratios(medians(ROUNDS), "raw")["one"], {"out": 4250 / 9000, "cpu": None})

    def test_table(self) -> None:
        """Rows of figures that somebody has, in their order, under the systems' names."""
        head, *rows = table("title", medians(ROUNDS))
        self.assertEqual(head.split(), ["title", "raw", "one", "other"])
        self.assertEqual(len(rows), 3)
        self.assertEqual(rows[0].split()[-3:], ["9,000", "4,250", "2,500"])
        self.assertEqual(rows[1].split()[-3:], ["-", "1.50", "6.00"])
        self.assertTrue(rows[2].startswith(FIGURES["idle"].label))
        self.assertEqual(len({len(row) for row in (head, *rows)}), 1)

    def test_form_of_ratios(self) -> None:
        """One form for all, where they are no longer Mbit/s or milliseconds."""
        _, row = table("", {"one": {"out": 1.5}}, ".2f")
        self.assertEqual(row.split()[-1], "1.50")

    def test_nothing(self) -> None:
        """Where nothing was measured there are names only."""
        self.assertEqual([each.split() for each in table("", {"raw": {}})], [["raw"]])
