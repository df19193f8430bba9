"""What a quantised model gained and lost: as a table, as JSON, as a picture."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge_alm.errors import RefusedError, UsageError
from quantize.verdict import Figures, Verdict

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 640, 400, 64, 48, 24


@dataclass(frozen=True, slots=True)
class Row:
    """A model."""

    name: str
    figures: Figures
    verdict: Verdict | None = None
    """None for the model that the others are compared with."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What else there is to know: layers left in float, types that stood in for others."""


@dataclass(frozen=True, slots=True)
class Report:
    """The float model first, then what was made of it."""

    title: str
    machine: str
    command: str
    rows: Sequence[Row]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "title": self.title,
            "machine": self.machine,
            "command": self.command,
            "models": [
                {
                    "name": row.name,
                    **asdict(row.figures),
                    "verdict": row.verdict.word if row.verdict else None,
                    "reasons": list(row.verdict.reasons) if row.verdict else [],
                    **row.notes,
                }
                for row in self.rows
            ],
        }

    def to_table(self) -> str:
        """For Markdown; columns of which nothing is known are left out."""
        columns = [
            (title, [write(row.figures) for row in self.rows])
            for title, write in _COLUMNS
            if any(write(row.figures) for row in self.rows)
        ]
        heads = ["model", *(title for title, _ in columns), "verdict"]
        lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        for i, row in enumerate(self.rows):
            cells = [row.name, *(cells[i] for _, cells in columns), _verdict_cell(row)]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def to_svg(self) -> str:
        """Size across, time upwards, quality as the fill: the fuller, the nearer to float."""
        return _draw(self)

    def write(self, stem: Path) -> list[Path]:
        """Write ``stem`` + .json, .md and .svg.

        Raises:
            UsageError: the disk refuses.
        """
        texts = {
            ".json": json.dumps(self.to_dict(), indent=2, ensure_ascii=False, default=str) + "\n",
            ".md": f"# {self.title}\n\n{self.to_table()}\n\n{self.machine}; `{self.command}`\n",
            ".svg": self.to_svg(),
        }
        paths = []
        for suffix, text in texts.items():
            path = stem.with_name(stem.name + suffix)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise UsageError(
                    str(path), expected="a file that can be written", got=error.strerror or ""
                ) from error
            paths.append(path)
        return paths

    def settle(self, out: Path) -> None:
        """Print the table, write the report beside ``out``, and carry out the last row's verdict.

        Raises:
            RefusedError: it is not worth keeping.
            UsageError: the disk refuses.
        """
        self.write(out.with_name(out.name + ".report"))
        print(self.to_table())
        verdict = self.rows[-1].verdict
        if verdict is not None and not verdict.keep:
            raise RefusedError(
                str(out),
                expected="a model worth keeping",
                got="; ".join(verdict.reasons),
                hint="the report beside it says more",
            )


def _share(value: float | None, n: int = 0) -> str:
    if value is None:
        return ""
    return f"{100 * value:.1f} % of {n}" if n else f"{100 * value:.1f} %"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


_COLUMNS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("MB", lambda f: f"{f.bytes / 1e6:.2f}"),
    ("median / p95 / best ms", lambda f: f"{f.median_ms:.2f} / {f.p95_ms:.2f} / {f.best_ms:.2f}"),
    ("peak MB", lambda f: _number(f.peak_bytes and f.peak_bytes / 1e6, ".0f")),
    ("cosine, median", lambda f: _number(f.cosine, ".4f")),
    ("cosine, 5 %", lambda f: _number(f.cosine_low, ".4f")),
    ("same top 1", lambda f: _share(f.top1)),
    ("ESC-10", lambda f: _share(f.esc10, f.esc10_n)),
    ("answers", lambda f: _share(f.answers, f.answers_n)),
    ("same words", lambda f: _share(f.words, f.words_n)),
    ("perplexity", lambda f: _number(f.perplexity, ".3f")),
    ("invented in noise", lambda f: _number(f.invented, ".2f")),
)


def _verdict_cell(row: Row) -> str:
    if row.verdict is None:
        return "compared with"
    return f"**{row.verdict.word}**: {'; '.join(row.verdict.reasons)}"


def _quality(figures: Figures, float_figures: Figures) -> tuple[float, str]:
    """0 to 1 for the fill, and how it reads."""
    if figures.answers is not None and float_figures.answers:
        return figures.answers / float_figures.answers, _share(figures.answers)
    if figures.esc10 is not None and float_figures.esc10:
        return figures.esc10 / float_figures.esc10, _share(figures.esc10)
    if figures.perplexity and float_figures.perplexity:
        share = float_figures.perplexity / figures.perplexity
        return share, f"perplexity {figures.perplexity:.2f}"
    if figures.cosine is not None:
        return figures.cosine, f"cosine {figures.cosine:.4f}"
    return 1.0, ""


def _draw(report: Report) -> str:
    rows = report.rows
    most_mb = 1.1 * max(row.figures.bytes for row in rows) / 1e6
    most_ms = 1.2 * max(row.figures.median_ms for row in rows)

    def x(mb: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _EDGE) * mb / most_mb

    def y(ms: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _EDGE) * ms / most_ms

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="16">{html.escape(report.title)}</text>',
        f'<path d="M{_LEFT} {_EDGE}V{y(0):.1f}H{_WIDTH - _EDGE}" fill="none" stroke="black"/>',
        f'<text x="{_WIDTH - _EDGE}" y="{_HEIGHT - 10}" text-anchor="end">MB</text>',
        f'<text x="{_LEFT - 8}" y="{_EDGE + 4}" text-anchor="end">ms</text>',
    ]
    for mb in _ticks(most_mb):
        parts.append(
            f'<text x="{x(mb):.1f}" y="{y(0) + 16:.1f}" text-anchor="middle">{mb:g}</text>'
        )
    for ms in _ticks(most_ms):
        parts.append(f'<text x="{_LEFT - 8}" y="{y(ms) + 4:.1f}" text-anchor="end">{ms:g}</text>')
    for row in rows:
        share, quality = _quality(row.figures, rows[0].figures)
        kept = row.verdict is None or row.verdict.keep
        # The last twentieth of quality is what one looks for.
        fill = min(1.0, max(0.0, 1.0 - 20.0 * (1.0 - share)))
        at_x, at_y = x(row.figures.bytes / 1e6), y(row.figures.median_ms)
        left = at_x > 0.6 * _WIDTH
        parts.append(
            f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="7" fill-opacity="{fill:.2f}" '
            f'fill="{"green" if kept else "red"}" stroke="{"green" if kept else "red"}"/>'
        )
        label = html.escape(f"{row.name}, {quality}" if quality else row.name)
        parts.append(
            f'<text x="{at_x + (-12 if left else 12):.1f}" y="{at_y + 4:.1f}" '
            f'text-anchor="{"end" if left else "start"}">{label}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _ticks(most: float) -> list[float]:
    """Four to nine round numbers from 0 to ``most``."""
    step = 10.0 ** math.floor(math.log10(most / 4))
    step *= next(m for m in (1, 2, 5, 10) if most / (step * m) < 9)
    return [round(i * step, 6) for i in range(int(most / step) + 1)]
