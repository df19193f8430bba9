"""A report as one HTML page: nothing to fetch, no script, light or dark as the reader has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from edge_alm.bench.plots import Line, distributions, lines, stacked
from edge_alm.bench.report import REST, Figure, Report
from edge_alm.bench.table import GROUPS, describe, duration_to_text, number_to_text

LIGHT = (
    *("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951"),
    *("#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0"),
)
"""Observable's ten colours, which can be told apart on white and on black."""
STYLE = """
:root{--ink:#1b1e23;--dim:#5c636e;--paper:#fff;--line:#dcdfe4;--soft:#f2f4f7;
color-scheme:light dark}
@media(prefers-color-scheme:dark){
:root{--ink:#e7e9ec;--dim:#a2a9b4;--paper:#15171b;--line:#343941;--soft:#1f2329}}
body{margin:2rem auto;max-width:50rem;padding:0 1rem;color:var(--ink);background:var(--paper);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2.2rem 0 .3rem}
p{margin:.3rem 0}.dim{color:var(--dim)}
svg{width:100%;height:auto;display:block;margin:.5rem 0}
svg text{font:12px system-ui,sans-serif;fill:var(--dim)}
.grid{stroke:var(--line)}.half{fill:var(--c0);opacity:.35}.dot{fill:var(--c0)}
.median{stroke:var(--ink);stroke-width:2}.line{fill:none;stroke-width:1.6}
.mark0{fill:var(--soft)}.mark1{fill:none}
table{border-collapse:collapse;font-size:.85rem;width:100%}
th,td{text-align:left;padding:.2rem .6rem .2rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.t:first-child{white-space:nowrap}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--dim)}
.samples{color:var(--dim);overflow-wrap:anywhere}
.wide{overflow-x:auto}
"""


def to_html(report: Report) -> str:
    """The page, as XML that is HTML too."""
    return make_page(
        report, "edge-alm bench", [*_latency(report), *_stages(report), *_length(report)]
    )


def make_page(report: Report, name: str, plots: Iterable[str]) -> str:
    """A page of a report: notes, machine, plots, what went on meanwhile, and every figure.

    Args:
        report: what was measured.
        name: of what measured it.
        plots: as :func:`make_section` makes them.
    """
    values = report.values
    colours = ";".join(f"--c{i}:{colour}" for i, colour in enumerate(LIGHT))
    fills = "".join(
        f".c{i}{{fill:var(--c{i})}}.s{i}{{stroke:var(--c{i})}}" for i in range(len(LIGHT))
    )
    title = f"{name}: {report.title}"
    body = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="dim">{escape(name)} {escape(values["version"])}, {escape(values["began"])}</p>',
        *(f"<p>{escape(note)}</p>" for note in values["notes"]),
        *make_section("The machine", "", _table([("", ""), *describe(values)[1:]])),
        *plots,
        *_over_time(values),
        *_figures(report),
    ]
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width"/>'
        f"<title>{escape(title)}</title><style>:root{{{colours}}}{STYLE}{fills}</style></head>\n"
        f"<body>{chr(10).join(body)}</body></html>\n"
    )


def make_section(title: str, text: str, content: str) -> Iterable[str]:
    """A heading, what is to be said to it, and what stands below."""
    yield f"<h2>{escape(title)}</h2>"
    if text:
        yield f'<p class="dim">{escape(text)}</p>'
    yield content


def _latency(report: Report) -> Iterable[str]:
    told = "Each dot is one sample, the box the half of them in the middle, the line the median."
    starts = [f for f in report.figures if f.group == "start" and f.unit == "s"]
    delays = [f for f in report.figures if f.group == "events"]
    answers = [f for f in report.figures if f.group == "ask" and f.unit == "ms"]
    firsts = [f for f in report.figures if f.group == "start" and f.unit == "ms"]
    if answers:
        text = f"{told} The first answer of a fresh process is beside them."
        rows = {f"after {f.rest}": f.samples for f in answers}
        rows |= {f"{f.rest}": f.samples for f in firsts}
        rows = {name.replace("/", ": "): samples for name, samples in rows.items()}
        yield from make_section("From a question to its answer", text, distributions(rows, "ms"))
    if starts:
        rows = {f.rest: f.samples for f in starts}
        text = (
            "Until the models are loaded and the language model has read its prompt. From disk: "
            "the models' files were dropped from memory first, the libraries were not."
        )
        yield from make_section("From nothing to ready", text, distributions(rows, "s"))
    if delays:
        text = (
            "How much audio of a made sound has been heard when the first event tells of it. What "
            "the machine takes to compute it comes on top."
        )
        rows = {f.rest: f.samples for f in delays}
        yield from make_section(
            "From a sound to its event", text, distributions(rows, "s of audio")
        )


def _stages(report: Report) -> Iterable[str]:
    rows: dict[str, dict[str, float]] = {}
    for figure in report.figures:
        if figure.group == "listen" and not figure.rest.endswith("/all"):
            kind, _, stage = figure.rest.partition("/")
            rows.setdefault(kind, {})[stage] = figure.summary.median
    text = (
        "CPU time per second of audio, medians; 100 % is one core that does nothing else. What the "
        "transcriber and the language model compute in threads of their own is among the rest."
    )
    if rows:
        yield from make_section(
            "What listening costs, by stage", text, stacked(rows, "% of a core")
        )
    hearing = {
        kind: {s: v for s, v in stages.items() if s not in ("language model", REST)}
        for kind, stages in rows.items()
    }
    if any(sum(stages.values()) for stages in hearing.values()):
        text = "The same without the language model and the libraries' own threads."
        yield from make_section("Of that, hearing", text, stacked(hearing, "% of a core"))


def _length(report: Report) -> Iterable[str]:
    lengths_s: Sequence[int] = report.values["plan"]["lengths_s"]
    found = []
    for part in ("first token", "last token"):
        figures = [
            (seconds, figure)
            for seconds in sorted(lengths_s)
            if (figure := report.find(f"ask/{duration_to_text(seconds)}/{part}"))
        ]
        medians = [(float(seconds), f.summary.median) for seconds, f in figures]
        spread = [(f.summary.q1, f.summary.q3) for _, f in figures]
        if figures:
            found.append(Line(part, medians, spread))
    if found and len(lengths_s) > 1:
        names = [(float(seconds), duration_to_text(seconds)) for seconds in sorted(lengths_s)]
        text = "Medians; the strokes reach over the middle half of the samples."
        plot = lines(found, "audio heard before the question", "ms", x_ticks=names)
        yield from make_section("What an answer costs, by how much was heard", text, plot)


def _over_time(values: Mapping[str, Any]) -> Iterable[str]:
    trace = values["trace"]
    marks = [(p["begin_s"], p["end_s"], p["name"].rpartition(", ")[2]) for p in trace["phases"]]
    if trace["watts"]:
        meter = values["meter"]
        text = f"{meter['name']}: {meter['scope']}. Strips: what went on."
        plot = lines([Line("power", trace["watts"])], "s", "W", marks=marks)
        yield from make_section("Power over time", text, plot)
    points = trace["points"]
    for key, title, unit, text in (
        ("cores", "CPU over time", "cores", "Of this process, not of the fresh ones it started."),
        ("celsius", "Temperature over time", "°C", "Of the hottest thermal zone."),
        ("mhz", "Clock over time", "MHz", "The mean of all groups of cores."),
    ):
        told = [(p["at_s"], p[key]) for p in points if p[key] is not None]
        if told:
            if key == "cores" and not trace["watts"]:
                text = f"No power sensor was read. {text}"
            plot = lines([Line(title, told)], "s", unit, marks=marks)
            yield from make_section(title, text, plot)


def _figures(report: Report) -> Iterable[str]:
    rows: list[Sequence[str]] = [("", "median", "q1", "q3", "p95", "p99", "n", "")]
    samples: list[Sequence[str]] = []
    for group in dict.fromkeys((*GROUPS, *(f.group for f in report.figures))):
        for figure in report.figures:
            if figure.group == group:
                rows.append(_row(figure))
                samples.append((figure.name, figure.unit, " ".join(map(repr, figure.samples))))
    yield from make_section("All figures", "", _table(rows, numbers=range(1, 7)))
    table = _table([("", "unit", "samples, as they came"), *samples])
    yield f"<details><summary>every sample</summary>{table}</details>"


def _row(figure: Figure) -> Sequence[str]:
    found = figure.summary
    numbers = (found.median, found.q1, found.q3, found.p95, found.p99)
    told = ["-" if value is None else number_to_text(value) for value in numbers]
    return (figure.name, *told, str(len(figure.samples)), figure.unit)


def _table(rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    right = set(numbers)

    def line(row: Sequence[str], tag: str) -> str:
        cells = (
            f'<{tag} class="{"n" if i in right else "t"}">{escape(cell)}</{tag}>'
            for i, cell in enumerate(row)
        )
        return f"<tr>{''.join(cells)}</tr>"

    head = line(rows[0], "th") if any(rows[0]) else ""
    body = "".join(line(row, "td") for row in rows[1:])
    return f'<div class="wide"><table>{head}{body}</table></div>'
