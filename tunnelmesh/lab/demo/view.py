"""Shows the story: lines as things happen, and below them a picture of the present."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tunnelmesh.lab.demo.picture import STYLES, picture
from tunnelmesh.lab.demo.scene import Scene
from tunnelmesh.lab.demo.witness import Line

FRAMES_PER_SECOND = 15


class View:
    """On a terminal, or as plain lines.

    :param live: draw the picture, and keep it below the lines; needs a terminal.
    """

    def __init__(self, console: Console, live: bool) -> None:
        self._console = console
        self._live = (
            Live(console=console, refresh_per_second=FRAMES_PER_SECOND, transient=True)
            if live
            else None
        )

    def __enter__(self) -> View:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def title(self, text: str) -> None:
        """A new act begins."""
        self._console.print()
        self.say(text, "bold")

    def tell(self, line: Line) -> None:
        """Something happened."""
        if self._live is None:
            self.say(f"{line.at:7.2f}  {line.who:<11}  {line.text}")
            return
        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=7, justify="right", style="dim")
        grid.add_column(width=11, style="bold")
        grid.add_column()
        grid.add_row(f"{line.at:.2f}", line.who, Text(line.text, style=STYLES[line.mood]))
        self._console.print(grid)

    def say(self, text: str, style: str = "") -> None:
        """Something that needs no time and no actor."""
        self._console.print(Text(text, style=style), soft_wrap=self._live is None)

    def show(self, scene: Scene) -> None:
        """The present is this."""
        if self._live is not None:
            self._live.update(Group(Text(), picture(scene)))

    def draw(self, scene: Scene) -> None:
        """Leave a picture of this among the lines."""
        self._console.print()
        self._console.print(picture(scene))
