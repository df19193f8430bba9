"""Plots as SVG, by hand: no script, no font of its own, colours by the page's variables. Pure.

A plot is a fixed number of units wide, and its texts are as long as they are: the widths of letters
are guessed, on the large side, so that none is cut off or runs into another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from edge_alm.bench.statistics import summarise
from edge_alm.bench.table import number_to_text

WIDTH = 760.0
LETTER = 6.6
"""Width of a letter at 12 units, of most fonts the mean with some to spare."""
ROW, BAR = 30.0, 16.0
TOP, BOTTOM, RIGHT = 10.0, 44.0, 24.0
COLOURS = 10
"""Of the page's style sheet: c0 to c9."""


LEAST = 1e-9
"""Nothing that is measured here is lower, but 0."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a plot over time or length."""

    name: str
    points: Sequence[tuple[float, float]]
    spread: Sequence[tuple[float, float]] = ()
    """The quartiles at each point; empty: not drawn."""


def ticks(highest: float, most: int = 6) -> list[float]:
    """Round numbers from 0 to at least ``highest``, no more than ``most`` steps apart."""
    if not highest > LEAST:
        return [0.0, 1.0]
    step = 10.0 ** math.floor(math.log10(highest / most))
    step *= next(by for by in (1, 2, 5, 10, 20) if highest / (by * step) <= most)
    count = math.ceil(highest / step - 1e-9)
    return [float(f"{i * step:.6g}") for i in range(count + 1)]


def distributions(rows: Mapping[str, Sequence[float]], unit: str) -> str:
    """A row for each name: every sample as a dot, the middle half as a box, the median a line."""
    left = _margin(rows)
    axis = ticks(max(max(samples) for samples in rows.values()))
    height = TOP + ROW * len(rows) + BOTTOM
    scale = (WIDTH - left - RIGHT) / axis[-1]
    parts = [_x_axis(axis, left, scale, height, unit)]
    for i, (name, samples) in enumerate(rows.items()):
        middle = TOP + ROW * (i + 0.5)
        found = summarise(samples)
        q1, median, q3 = (left + scale * value for value in (found.q1, found.median, found.q3))
        parts.append(_text(left - 8, middle + 4, name, "end"))
        parts.append(_box(q1, middle - BAR / 2, max(q3 - q1, 1.0), BAR, "half"))
        for j, sample in enumerate(samples):
            # One above the other where they would hide each other.
            y = middle + (j % 3 - 1) * 4.0
            parts.append(
                f'<circle class="dot" cx="{left + scale * sample:.1f}" cy="{y:.1f}" r="2"/>'
            )
        parts.append(_stroke(median, middle - BAR / 2 - 2, median, middle + BAR / 2 + 2, "median"))
    return _svg(height, parts, f"{', '.join(rows)}, in {unit}")


def stacked(rows: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """A bar for each name, made of its parts; a legend that gives each part its colour."""
    names = list(dict.fromkeys(part for parts in rows.values() for part in parts))
    used = [name for name in names if any(parts.get(name, 0.0) > 0.0 for parts in rows.values())]
    legend, legend_height = _legend(used)
    left = _margin(rows)
    axis = ticks(max(sum(parts.values()) for parts in rows.values()))
    height = TOP + ROW * len(rows) + BOTTOM
    room = max(len(number_to_text(sum(parts.values()))) for parts in rows.values()) * LETTER + 8
    scale = (WIDTH - left - RIGHT - room) / axis[-1]
    drawn = [_x_axis(axis, left, scale, height, unit)]
    for i, (name, parts) in enumerate(rows.items()):
        y, x = TOP + ROW * (i + 0.5), left
        drawn.append(_text(left - 8, y + 4, name, "end"))
        for part in used:
            width = scale * parts.get(part, 0.0)
            if width > 0.0:
                kind = f"c{names.index(part) % COLOURS}"
                value = f"{part}: {number_to_text(parts[part])} {unit}"
                drawn.append(_box(x, y - BAR / 2, width, BAR, kind, value))
            x += width
        drawn.append(_text(x + 6, y + 4, number_to_text(sum(parts.values()))))
    colours = [f"c{names.index(name) % COLOURS}" for name in used]
    keys = [_key(x, y + height, name, c) for (x, y, name), c in zip(legend, colours, strict=True)]
    return _svg(height + legend_height, [*drawn, *keys], f"{', '.join(rows)}, in {unit}")


def lines(
    found: Sequence[Line],
    x_unit: str,
    y_unit: str,
    *,
    x_ticks: Sequence[tuple[float, str]] | None = None,
    marks: Iterable[tuple[float, float, str]] = (),
) -> str:
    """Lines over an axis that begins at 0, or, with ``x_ticks``, over a logarithmic one.

    Args:
        found: the lines.
        x_unit: below the horizontal axis.
        y_unit: above the vertical one.
        x_ticks: where to write what; None: round numbers.
        marks: from, to and name of what went on meanwhile.
    """
    legend, legend_height = _legend([line.name for line in found] if len(found) > 1 else [])
    values = [y for line in found for _, y in line.points]
    values += [high for line in found for _, high in line.spread]
    axis = ticks(max(values))
    left, right = max(len(_tick(y)) for y in axis) * LETTER + 16, WIDTH - RIGHT
    top, bottom = TOP + 18.0, TOP + 218.0
    highest = max(x for line in found for x, _ in line.points)
    log = x_ticks is not None
    columns = list(x_ticks) if x_ticks else [(x, _tick(x)) for x in ticks(highest)]
    low, high = columns[0][0], columns[-1][0]
    inset = 24.0 if log else 0.0  # a first tick's text has to lie within the plot

    def across(x: float) -> float:
        if log:
            span = math.log(high / low) or 1.0
            return left + inset + math.log(x / low) / span * (right - left - 2 * inset)
        return left + (x - low) / (high - low) * (right - left)

    def up(y: float) -> float:
        return bottom - y / axis[-1] * (bottom - top)

    parts = [_text(left - 8, TOP + 4, y_unit)]
    for i, (begin, end, name) in enumerate(marks):
        width = across(min(end, high)) - across(begin)
        parts.append(_box(across(begin), top, width, bottom - top, f"mark{i % 2}", name))
        if len(name) * LETTER < width:
            parts.append(_text(across((begin + min(end, high)) / 2), top + 12, name, "middle"))
    for y in axis:
        parts.append(_stroke(left, up(y), right, up(y), "grid"))
        parts.append(_text(left - 8, up(y) + 4, _tick(y), "end"))
    parts += [_text(across(x), bottom + 18, name, "middle") for x, name in columns]
    parts.append(_text((left + right) / 2, bottom + 36, x_unit, "middle"))
    for i, line in enumerate(found):
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline class="line s{i % COLOURS}" points="{path}"/>')
        for (x, y), (q1, q3) in zip(line.points, line.spread, strict=False):
            parts.append(_stroke(across(x), up(q1), across(x), up(q3), f"line s{i % COLOURS}"))
            parts.append(
                f'<circle class="c{i % COLOURS}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="4"/>'
            )
    height = bottom + BOTTOM
    parts += [_key(x, y + height, name, f"c{i % COLOURS}") for i, (x, y, name) in enumerate(legend)]
    return _svg(height + legend_height, parts, f"{', '.join(line.name for line in found)}")


def _margin(names: Iterable[str]) -> float:
    return max(map(len, names)) * LETTER + 16.0


def _tick(value: float) -> str:
    return f"{value:,g}" if abs(value) < 1e6 else f"{value:g}"


def _x_axis(axis: Sequence[float], left: float, scale: float, height: float, unit: str) -> str:
    bottom = height - BOTTOM
    parts = []
    for value in axis:
        x = left + scale * value
        parts.append(_stroke(x, TOP, x, bottom, "grid"))
        parts.append(_text(x, bottom + 18, _tick(value), "middle"))
    parts.append(_text(left + scale * axis[-1] / 2, bottom + 36, unit, "middle"))
    return "".join(parts)


def _legend(names: Sequence[str]) -> tuple[list[tuple[float, float, str]], float]:
    """Where each key stands, from the legend's top, and the legend's height."""
    places, x, y = [], 16.0, 8.0
    for name in names:
        width = 22.0 + len(name) * LETTER + 16.0
        if x + width > WIDTH and x > 16.0:
            x, y = 16.0, y + 20.0
        places.append((x, y, name))
        x += width
    return places, y + 20.0 if names else 0.0


def _key(x: float, y: float, name: str, colour: str) -> str:
    return _box(x, y, 14.0, 10.0, colour) + _text(x + 20.0, y + 9.0, name)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    told = f"<title>{escape(title)}</title>" if title else ""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.0):.1f}" height="{height:.1f}"'
    return f'<rect class="{kind}" {place}>{told}</rect>'


def _stroke(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(height: float, parts: Iterable[str], label: str) -> str:
    box = f"0 0 {WIDTH:.0f} {height:.0f}"
    return f'<svg viewBox="{box}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
