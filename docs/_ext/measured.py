"""The directive ``measured``: a benchmark's kept result, as ``python -m bench.keep`` wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

RESULTS = Path(__file__).parent.parent / "results"


class Measured(Directive):
    """Shows one result: the text as it was printed, and below it where it comes from."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the nodes."""
        file = RESULTS / f"{self.arguments[0]}.json"
        self.state.document.settings.record_dependencies.add(str(file))
        try:
            result = json.loads(file.read_text("utf-8"))
        except OSError as error:
            raise self.error(f"no result {self.arguments[0]!r}: {error.strerror}") from None
        shown = nodes.literal_block(result["text"], result["text"].rstrip(), language="text")
        before, after = result["load"]
        origin = (
            f"; {result['day']}, {result['machine']}; load {before} before, {after} after; "
            f"commit {result['commit']}."
        )
        caption = nodes.paragraph("", "", nodes.literal("", result["command"]), nodes.Text(origin))
        return [shown, caption]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("measured", Measured)
    return {"parallel_read_safe": True}
