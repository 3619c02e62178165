"""QR codes on a terminal."""

from __future__ import annotations

import re

import segno
from twisted.trial.unittest import SynchronousTestCase

from tunnelmesh.cli import qr

TOKEN = "tm1:" + "A1b2" * 32
HALVES = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}


def modules(lines: list[str]) -> list[list[int]]:
    """Which halves of the characters are drawn, row by row."""
    rows: list[list[int]] = []
    for line in lines:
        pairs = [HALVES[c] for c in re.sub(r"\x1b\[[0-9;]*m", "", line)]
        rows += [[a for a, _ in pairs], [b for _, b in pairs]]
    return rows


class QRTests(SynchronousTestCase):
    """What a camera sees."""

    def setUp(self) -> None:
        code = segno.make(TOKEN, error="l", boost_error=False)
        self.expected = [list(row) for row in code.matrix_iter(border=4)]
        self.expected.append([0] * len(self.expected))

    def test_black_on_white(self) -> None:
        """With colours, dark modules are drawn in black, and each line sets both colours itself."""
        lines = list(qr.lines(TOKEN, coloured=True))
        self.assertEqual(modules(lines), self.expected)
        self.assertTrue(all(line.startswith("\x1b[") for line in lines))
        self.assertTrue(all(line.endswith("\x1b[0m") for line in lines))

    def test_plain(self) -> None:
        """Without colours, light modules are drawn, and nothing but blocks is sent."""
        lines = list(qr.lines(TOKEN, coloured=False))
        inverse = [[1 - module for module in row] for row in self.expected]
        self.assertEqual(modules(lines), inverse)
        self.assertEqual(set("".join(lines)), set(HALVES))

    def test_fits(self) -> None:
        """A token's code fits into a terminal of 80 columns."""
        self.assertLess(max(map(len, qr.lines(TOKEN, coloured=False))), 80)
