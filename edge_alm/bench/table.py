"""A report as text for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from edge_alm.bench.report import Figure, Report

GROUPS: Mapping[str, str] = {
    "start": "to start",
    "events": "to tell of a sound",
    "listen": "to listen: CPU",
    "speed": "to listen: speed",
    "ask": "to answer, by how much was heard",
    "decode": "to write",
    "memory": "memory",
    "power": "power and energy",
}
"""What the first part of a figure's name stands for."""
UNKNOWN = "not known"


def to_text(report: Report) -> str:
    """The machine, a line for each figure that is not always 0, and what is to be said to them."""
    lines = [f"{name:13} {text}" for name, text in describe(report.values)]
    rows: list[tuple[str, ...]] = [("", "median", "q1", "q3", "n", "")]
    for name, title in GROUPS.items():
        figures = [f for f in report.figures if f.group == name and any(f.samples)]
        if figures:
            rows += [(title, "", "", "", "", ""), *map(_row, figures)]
    lines += ["", *align(rows, left=(0, 5)), ""]
    lines += [f"note: {note}" for note in report.values["notes"]]
    return "\n".join(lines).rstrip()


def describe(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Machine, state and models in names and texts."""
    board, bundle = values["machine"], values["bundle"]
    versions = ", ".join(f"{name} {number}" for name, number in board["versions"].items())
    memory = f", {board['memory_mb'] / 1e3:.1f} GB" if board["memory_mb"] else ""
    threads = f", {bundle['threads']} thread(s)" if bundle["threads"] else ""
    models = [f"encoder {bundle['encoder']}", bundle["transcriber"], bundle["language_model"]]
    rounds = values["plan"]["rounds"]
    return [
        ("edge-alm", f"{values['version']}, {values['began']}, {rounds} rounds"),
        ("machine", board["model"] or UNKNOWN),
        ("CPU", f"{board['cpu'] or UNKNOWN}, {board['cores']} cores{memory}"),
        ("features", " ".join(board["features"]) or UNKNOWN),
        ("system", board["system"]),
        ("libraries", versions),
        ("models", f"{bundle['name']}: {', '.join(filter(None, models))}{threads}"),
        ("at the start", describe_state(values["start"])),
        ("at the end", describe_state(values["end"])),
        ("power meter", f"{m['name']}, {m['scope']}" if (m := values["meter"]) else "none"),
    ]


def describe_state(state: Mapping[str, Any]) -> str:
    """Governor, clock, temperature, throttling and load in a line."""
    temperatures = state["temperatures_c"]
    hottest = max(temperatures, key=temperatures.__getitem__, default="")
    throttling = list(state["cooled"]) + list(state["pi"] or ())
    if state["throttles"] is not None:
        throttling.append(f"{state['throttles']} times since it started")
    if not throttling and state["pi"] is not None:
        throttling = ["none"]
    clock = "/".join(f"{mhz:.0f}" for mhz in state["mhz"])
    parts = (
        ("governor", "/".join(state["governors"])),
        ("clock", f"{clock} MHz" if clock else ""),
        ("allowed", "" if state["ceiling"] is None else f"{state['ceiling']:.0%} of the clock"),
        ("temperature", f"{temperatures[hottest]:.0f} °C ({hottest})" if hottest else ""),
        ("throttled", ", ".join(throttling)),
        ("load", "" if state["load"] is None else f"{state['load']:g}"),
    )
    told = [f"{name} {text}" for name, text in parts if text]
    missing = [name for name, text in parts if not text and name != "allowed"]
    if missing:
        told.append(f"{UNKNOWN}: {', '.join(missing)}")
    return "; ".join(told)


def number_to_text(value: float) -> str:
    """Three digits that count, more before the point."""
    if value == 0.0 or abs(value) >= 100.0:
        return f"{value:,.0f}"
    digits = 2
    while digits < 6 and abs(value) < 10.0 ** (2 - digits):
        digits += 1
    return f"{value:.{1 if abs(value) >= 10.0 else digits}f}"


def duration_to_text(seconds: int) -> str:
    """``5 s``, ``2 min``."""
    return f"{seconds // 60} min" if seconds % 60 == 0 and seconds else f"{seconds} s"


def align(rows: Iterable[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """Rows of cells as lines, the columns ``left`` to the left and the others to the right."""
    table = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _row(figure: Figure) -> tuple[str, ...]:
    found = figure.summary
    numbers = map(number_to_text, (found.median, found.q1, found.q3))
    return (f"  {figure.rest}", *numbers, str(len(figure.samples)), figure.unit)
