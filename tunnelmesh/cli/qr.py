"""QR codes on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import segno

BORDER = 4
"""Light modules around the code, as ISO/IEC 18004 §6.3.8 wants; cameras look for them."""

_BLOCKS = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}
"""Two modules, one above the other, as one character: it is twice as high as wide."""

_BLACK_ON_WHITE, _PLAIN = "\x1b[38;5;16;48;5;231m", "\x1b[0m"
"""Fixed colours of the 256: those that have names look different on each terminal."""


def lines(text: str, *, coloured: bool) -> Iterator[str]:
    """A QR code of *text*, line by line.

    :param coloured: whether to set black and white; otherwise the light modules are drawn, as most
        terminals are dark, and a camera takes the opposite as well.
    """
    code = segno.make(text, error="l", boost_error=False, micro=False)
    rows = [list(row) for row in code.matrix_iter(border=BORDER)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        pairs = zip(upper, lower, strict=True)
        if coloured:
            drawn = "".join(_BLOCKS[bool(a), bool(b)] for a, b in pairs)
            yield f"{_BLACK_ON_WHITE}{drawn}{_PLAIN}"
        else:
            yield "".join(_BLOCKS[not a, not b] for a, b in pairs)
