"""Draw the pictures of the page about NAT: ``python docs/draw_nat.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent

STYLE = """
text { font: 13px system-ui, 'DejaVu Sans', Arial, sans-serif; fill: #24292f }
.small { font-size: 11.5px; fill: #57606a }
.title { font-weight: 600; font-size: 14px }
.box { fill: #f6f8fa; stroke: #8c959f }
.nat { fill: #ddf4ff; stroke: #54aeff }
.out { stroke: #57606a; stroke-width: 1.6; fill: none; marker-end: url(#grey) }
.in { stroke: #1a7f37; stroke-width: 1.6; fill: none; marker-end: url(#green) }
.no { stroke: #cf222e; stroke-width: 1.6; fill: none; stroke-dasharray: 4 3;
  marker-end: url(#red) }
.cross { stroke: #cf222e; stroke-width: 2.4 }
.time { stroke: #d0d7de; stroke-width: 1.4 }
.card { fill: #ffffff; stroke: #d0d7de }
"""

MARKERS = "".join(
    f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
    f' orient="auto"><path d="M0 0 8 4 0 8z" fill="{colour}"/></marker>'
    for name, colour in (("grey", "#57606a"), ("green", "#1a7f37"), ("red", "#cf222e"))
)

PANEL = (372, 214)
"""Pixels of one flavour's panel."""

REMOTES = (("A, port 1", 62), ("A, port 2", 112), ("B", 162))
"""Who is outside, and how far below the panel's top."""


class Flavour(NamedTuple):
    """One flavour.

    :ivar admits: which of :data:`REMOTES` get in, after the machine has sent to the first.
    """

    name: str
    rule: str
    admits: tuple[bool, bool, bool]
    per_destination: bool = False


FLAVOURS = (
    Flavour("full cone", "one port for all; everybody gets in", (True, True, True)),
    Flavour("restricted cone", "one port for all; known addresses get in", (True, True, False)),
    Flavour("port-restricted", "one port for all; known ports get in", (True, False, False)),
    Flavour("symmetric", "a new port for each destination", (True, False, False), True),
)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words at a place."""
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{words}</text>'


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A rectangle with round corners."""
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" class="{kind}"/>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line, or arrow."""
    return f'<path d="M{x1} {y1} {x2} {y2}" class="{kind}"/>'


def cross(x: float, y: float) -> str:
    """Where something is dropped."""
    return line(x - 5, y - 5, x + 5, y + 5, "cross") + line(x - 5, y + 5, x + 5, y - 5, "cross")


def panel(flavour: Flavour) -> Iterator[str]:
    """One flavour: who was sent to, and who gets in."""
    yield box(6, 6, PANEL[0] - 12, PANEL[1] - 12, "card")
    yield text(20, 28, flavour.name, "title")
    yield text(20, 45, flavour.rule, "small")
    yield box(20, 92, 74, 44, "box")
    yield text(57, 118, "machine", anchor="middle")
    yield box(150, 56, 62, 136, "nat")
    yield text(181, 130, "NAT", anchor="middle")
    for number, ((name, y), admitted) in enumerate(zip(REMOTES, flavour.admits, strict=True)):
        yield box(276, y - 8, 78, 32, "box")
        yield text(315, y + 12, name, anchor="middle")
        sent = number == 0 or (flavour.per_destination and number == 2)
        if sent:
            port = "40001" if number == 0 else "52873"
            yield line(94, 110, 150, y + 2, "out")
            yield line(212, y + 2, 275, y + 2, "out")
            yield text(208, y + 6, port, "small", "end")
        if admitted or (flavour.per_destination and number == 2):
            yield line(276, y + 12, 213, y + 12, "in")
        else:
            yield line(276, y + 12, 222, 80, "no")
            yield cross(217, 78)


def flavours() -> str:
    """All four."""
    parts = []
    for number, flavour in enumerate(FLAVOURS):
        x, y = number % 2 * PANEL[0], number // 2 * PANEL[1]
        parts.append(f'<g transform="translate({x} {y})">{"".join(panel(flavour))}</g>')
    return drawing(2 * PANEL[0], 2 * PANEL[1], parts, "Four flavours of NAT, and who gets in")


def punching() -> str:
    """Two machines, two NATs and the coordinator, from top to bottom in time."""
    columns = {"laptop": 60, "its NAT": 200, "coordinator": 360, "their NAT": 520, "homelab": 660}
    a, nat_a, middle, nat_b, b = columns.values()
    parts = [box(4, 4, 712, 322, "card")]
    for name, x in columns.items():
        kind = "nat" if "NAT" in name else "box"
        parts += [box(x - 52, 16, 104, 28, kind), text(x, 35, name, anchor="middle")]
        parts.append(line(x, 44, x, 312, "time"))
    parts += [
        line(middle, 76, a + 4, 96, "out"),
        line(middle, 76, b - 4, 96, "out"),
        text(middle, 68, "“now”, with the other's addresses", "small", "middle"),
        line(a, 124, nat_a - 2, 132, "out"),
        line(nat_a, 132, nat_b - 8, 168, "no"),
        cross(nat_b - 4, 169),
        text(nat_b + 10, 186, "too early: dropped, but", "small"),
        text(nat_b + 10, 201, "the laptop's NAT is open now", "small"),
        line(b, 136, nat_b + 2, 142, "out"),
        line(nat_b, 142, nat_a + 2, 206, "in"),
        line(nat_a, 206, a + 4, 212, "in"),
        text(a - 44, 232, "it gets in: it was asked for", "small"),
        line(a, 248, nat_a - 2, 254, "out"),
        line(nat_a, 254, nat_b - 2, 274, "in"),
        line(nat_b, 274, b - 4, 280, "in"),
        text(
            middle,
            304,
            "open both ways: proven with full-size probes, then used",
            "small",
            "middle",
        ),
    ]
    return drawing(720, 330, parts, "Two machines open their NATs at the same moment")


def drawing(width: int, height: int, parts: list[str], label: str) -> str:
    """A whole picture."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img" aria-label="{label}">\n<style>{STYLE}</style>\n'
        f"<defs>{MARKERS}</defs>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def main() -> None:
    for name, picture in (("nat-flavours", flavours()), ("punching", punching())):
        (HERE / f"{name}.svg").write_text(picture, "utf-8")


if __name__ == "__main__":
    main()
