"""A report on peers as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_alm.bench.report import Figure, Report
from edge_alm.bench.table import align, describe, number_to_text

TITLES: Mapping[str, str] = {
    "answers": "a question to its first token, by how much was heard",
    "speech": "speech to text",
    "sounds": "telling sounds",
    "memory": "what memory allows",
    "decode": "writing",
    "cascade": "ten seconds of sound to an answer",
}
"""What the first part of a figure's name stands for."""


def to_text(report: Report) -> str:
    """The machine, a line for each figure, and what is to be said to them."""
    lines = [f"{name:13} {text}" for name, text in describe(report.values)]
    lines += ["", *align(to_rows(report.figures, report.values["weight_bytes"]), left=(0, 5)), ""]
    lines += [f"note: {note}" for note in report.values["notes"]]
    return "\n".join(lines).rstrip()


def to_rows(figures: Sequence[Figure], weight_bytes: int | None) -> list[tuple[str, ...]]:
    """A line for each figure, below its section's title.

    Each with its ratio to the first peer's; of writing with its share of the ceiling.
    """
    rows: list[tuple[str, ...]] = [("", "median", "q1", "q3", "n", "", "to the first", "of memory")]
    firsts: dict[tuple[str, str], Figure] = {}
    copied = next((f for f in figures if f.group == "memory"), None)
    for group, title in TITLES.items():
        own = [figure for figure in figures if figure.group == group]
        if own:
            rows.append((title, *[""] * 7))
        for figure in own:
            found = figure.summary
            first = firsts.setdefault((figure.name.rpartition("/")[0], figure.unit), figure)
            share = "-"
            if group == "decode" and copied and weight_bytes:
                # The best that was seen: other work only makes it less.
                share = f"{1e-9 * weight_bytes * found.median / max(copied.samples):.0%}"
            numbers = map(number_to_text, (found.median, found.q1, found.q3))
            n = str(len(figure.samples))
            name = f"  {figure.rest}"
            rows.append((name, *numbers, n, figure.unit, ratio_to(figure, first), share))
    return rows


def ratio_to(figure: Figure, first: Figure) -> str:
    """How many times the first peer's median a figure's is."""
    if figure is first or not first.summary.median:
        return "-"
    return f"{figure.summary.median / first.summary.median:.2f}"
