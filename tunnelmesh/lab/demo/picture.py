"""The picture: who is behind what, and what carries the traffic."""

from __future__ import annotations

from rich.text import Text

from tunnelmesh.lab.demo.scene import LINKS, Scene, Side

BOX = 27
"""Columns of a box, its frame included."""

GAP = 22
"""Columns between the two lower boxes: those of the coordinator's box, too."""

STYLES = {"plain": "", "direct": "bold green", "relayed": "bold yellow", "broken": "bold red"}

_NAMES = {
    "open": "no NAT",
    "firewall": "firewall",
    "linux": "linux NAT",
    "udp-blocked": "NAT, UDP blocked",
    "web-only": "NAT, web ports only",
    "proxy-only": "HTTP proxy only",
    "proxy-auth": "HTTP proxy, password",
}

Row = list[tuple[str, str]]
"""Pieces of text, and the style of each."""


def picture(scene: Scene) -> Text:
    """Draw a scene in 76 columns."""
    left, right = (_machine(scene, side) for side in scene.sides)
    rows = _coordinator(scene)
    for one, middle, other in zip(left, _middle(scene), right, strict=True):
        rows.append([*one, middle, *other])
    text = Text(no_wrap=True, overflow="crop")
    for row in rows:
        for piece, style in row:
            text.append(piece, style)
        text.append("\n")
    text.rstrip()
    return text


def _coordinator(scene: Scene) -> list[Row]:
    style = "" if scene.serving else "dim"
    half = BOX // 2
    left, right = scene.sides
    blank = (" " * BOX, "")
    drop = " " * half + "│" + " " * half
    return [
        [blank, (_top("coordinator", GAP), style), blank],
        [
            (" " * half + f"╭{_label(left):─^{half}}", _wire(left)),
            ("┤" if left.link else "│", style),
            (f"{scene.coordinator:^{GAP - 2}}", style),
            ("├" if right.link else "│", style),
            (f"{_label(right):─^{half}}╮" + " " * half, _wire(right)),
        ],
        [(drop, _wire(left)), ("╰" + "─" * (GAP - 2) + "╯", style), (drop, _wire(right))],
    ]


def _wire(side: Side) -> str:
    """The style of one side's link to the coordinator."""
    if side.path in LINKS:
        return STYLES["relayed"]
    return "" if side.link else "dim"


def _label(side: Side) -> str:
    return "" if side.link is None else f" {LINKS[side.link]} "


def _machine(scene: Scene, side: Side) -> list[Row]:
    machine = side.machine
    cut = scene.cut is not None and side is scene.sides[0]
    style = STYLES["broken"] if cut else ""
    gateway = f"drops {scene.cut.upper()}" if cut and scene.cut else _gateway(machine.kind)
    lines = [
        (gateway, style or "cyan"),
        (machine.outside, style),
        ("", ""),
        (machine.name, "bold"),
        (machine.address, ""),
        (
            f"mesh {side.address}" if side.address else "not in the mesh yet",
            "bold" if side.address else "dim",
        ),
    ]
    rows: list[Row] = [[(_top(machine.place, BOX), style)]]
    for text, own in lines:
        rows.append([("│ ", style), (f"{text:<{BOX - 4}}", own), (" │", style)])
    rows.append([("╰" + "─" * (BOX - 2) + "╯", style)])
    return rows


def _gateway(kind: str) -> str:
    return _NAMES.get(kind, f"{kind} NAT")


def _top(title: str, width: int) -> str:
    return "╭" + f"─ {title} ".ljust(width - 2, "─") + "╮"


def _middle(scene: Scene) -> list[tuple[str, str]]:
    """What is between the two boxes: the direct path, if there is one."""
    here = scene.sides[0]
    style = "dim"
    rows = [""] * 8
    if scene.is_direct:
        style = STYLES["direct"]
        rows[1], rows[2] = f"direct, {str(here.path).upper()}", "◀" + "━" * (GAP - 4) + "▶"
    elif here.path in LINKS:
        style = STYLES["relayed"]
        rows[1], rows[2] = "no direct path", "┄" * (GAP - 6)
        rows[3] = "relayed"
    if here.path is not None and here.path_rtt is not None:
        rows[3] = f"{rows[3]} {here.path_rtt:.1f} ms".strip()
    if scene.pong is not None:
        rows[5], rows[6] = f"ping {scene.pong[0]}", f"{scene.pong[1]:.1f} ms"
    elif scene.transfer is not None:
        share = scene.transfer.received / scene.size
        done = round(share * (GAP - 6))
        rows[5] = f"{scene.transfer.received / 1e6:.1f} MB"
        rows[6] = "█" * done + "░" * (GAP - 6 - done)
    return [(f"{row:^{GAP}}", style) for row in rows]
