"""Figures of many systems, as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.throughput.measures import FIGURES, Figures
from bench.throughput.readings import median

Results = Mapping[str, Figures]
"""The figures of each system, by its name."""


def medians(rounds: Mapping[str, Sequence[Figures]]) -> dict[str, Figures]:
    """Each system's figures, from those of its rounds."""
    return {
        name: {
            figure: median(each.get(figure) for each in figures)
            for figure in FIGURES
            if any(figure in each for each in figures)
        }
        for name, figures in rounds.items()
    }


def ratios(results: Results, to: str) -> dict[str, Figures]:
    """The figures as multiples of those of one system."""
    base = results[to]

    def ratio(figure: str, value: float | None) -> float | None:
        reference = base.get(figure)
        return None if value is None or not reference else value / reference

    return {
        name: {f: ratio(f, v) for f, v in figures.items() if FIGURES[f].comparable}
        for name, figures in results.items()
    }


def table(title: str, results: Results, form: str | None = None) -> Iterator[str]:
    """A row for each figure that any system has, a column for each system.

    :param form: of every number, in place of the figures' own.
    """
    known = [figure for figure in FIGURES if any(figure in each for each in results.values())]
    width = max(len(title), *(len(FIGURES[figure].label) for figure in known), 0)
    columns = {name: max(len(name), 7) for name in results}
    heads = "  ".join(f"{name:>{columns[name]}}" for name in results)
    yield f"{title:{width}}  {heads}"
    for figure in known:
        cells = []
        for name, figures in results.items():
            value = figures.get(figure)
            text = "-" if value is None else format(value, form or FIGURES[figure].form)
            cells.append(f"{text:>{columns[name]}}")
        yield f"{FIGURES[figure].label:{width}}  {'  '.join(cells)}"
