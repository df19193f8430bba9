"""A report on peers as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.peers.table import TITLES
from edge_alm.bench.page import make_page, make_section
from edge_alm.bench.plots import Line, distributions, lines
from edge_alm.bench.report import Figure, Report
from edge_alm.bench.table import duration_to_text

TEXTS: Mapping[str, str] = {
    "answers": "The runtime holds the scene in the language model's context while it listens; "
    "llama.cpp, with the same weights, reads it when the question comes.",
    "speech": "The same utterances by every engine, one thread for each network.",
    "sounds": "The same network in several forms and engines, one thread each.",
    "memory": "Read and written by copying a block that fits into no cache.",
    "decode": "Tokens one at a time, with the same file and number of threads; in an empty context "
    "and after a scene of some minutes.",
    "cascade": "The runtime listened along; the others transcribe, tag, read and answer when the "
    "question comes. Same weights, same threads, everything loaded.",
}


def to_html(report: Report) -> str:
    """The page, as XML that is HTML too."""
    plots = [*_length(report), *_distributions(report.figures)]
    return make_page(report, "edge-alm beside its peers", plots)


def _length(report: Report) -> Iterable[str]:
    lengths_s: Sequence[int] = report.values["plan"]["lengths_s"]
    peers: dict[str, list[tuple[int, Figure]]] = {}
    for seconds in lengths_s:
        prefix = f"answers/{duration_to_text(seconds)}/"
        for figure in report.figures:
            if figure.name.startswith(prefix):
                peer = figure.name.removeprefix(prefix)
                peers.setdefault(peer, []).append((seconds, figure))
    found = [
        Line(
            peer,
            [(float(seconds), figure.summary.median) for seconds, figure in own],
            [(figure.summary.q1, figure.summary.q3) for _, figure in own],
        )
        for peer, own in peers.items()
    ]
    if found and len(lengths_s) > 1:
        names = [(float(seconds), duration_to_text(seconds)) for seconds in lengths_s]
        text = f"{TEXTS['answers']} Medians; the strokes reach over the middle half of the samples."
        plot = lines(found, "audio heard before the question", "ms", x_ticks=names)
        yield from make_section("To the first token, by how much was heard", text, plot)


def _distributions(figures: Sequence[Figure]) -> Iterable[str]:
    for group, title in TITLES.items():
        units: dict[str, dict[str, Sequence[float]]] = {}
        for figure in figures:
            if figure.group == group:
                name = figure.rest.replace("/", ": ")
                units.setdefault(figure.unit, {})[name] = figure.samples
        if units:
            plots = "".join(distributions(rows, unit) for unit, rows in units.items())
            heading = f"{title[0].upper()}{title[1:]}"
            yield from make_section(heading, TEXTS[group], plots)
