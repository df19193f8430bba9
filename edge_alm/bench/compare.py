"""What differs between two reports by more than chance. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edge_alm.bench.report import MORE_IS_BETTER, Figure, Report
from edge_alm.bench.table import align, number_to_text

PARTS = ("machine", "bundle", "plan")
"""Of a report: what figures depend on."""
LEAST_SAMPLES = 3
"""With fewer their spread says nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in two reports."""

    name: str
    unit: str
    before: float
    """The median."""
    after: float
    spread: float
    """The larger of the two: what the quartiles of a report are apart."""
    verdict: Literal["better", "worse", "same", "unknown"]
    """``same``: the medians differ by no more than the spread; ``unknown``: too few samples."""

    @property
    def ratio(self) -> float | None:
        """After to before."""
        return self.after / self.before if self.before else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two reports, figure by figure."""

    before: str
    """Which bundle and machine it is of, and when it was made."""
    after: str
    differs: tuple[str, ...]
    """What of version, machine, bundle and plan is not the same: a line each."""
    changes: Sequence[Change]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    """Figures that only the first has, and only the second."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "changes": [asdict(change) for change in self.changes]}

    def to_text(self) -> str:
        """A line for each figure that changed, and what became of the others."""
        lines = [f"A  {self.before}", f"B  {self.after}"]
        lines += [f"   {line}" for line in self.differs]
        told = [c for c in self.changes if c.verdict in ("better", "worse")]
        if told:
            rows = [("", "A", "B", "B/A", "spread", "", ""), *map(_row, told)]
            lines += ["", *align(rows, left=(0, 5, 6))]
        counts = Counter(change.verdict for change in self.changes)
        lines += [
            "",
            f"{counts['better']} better, {counts['worse']} worse, {counts['same']} within their "
            f"spread, {counts['unknown']} with fewer than {LEAST_SAMPLES} samples",
        ]
        for report, names in zip("AB", self.only, strict=True):
            if names:
                lines.append(f"only in {report}: {', '.join(names)}")
        return "\n".join(lines)


def compare(before: Report, after: Report) -> Comparison:
    """Which figures changed: whose medians differ by more than the spread of either report."""
    first = {(figure.name, figure.unit): figure for figure in before.figures}
    second = {(figure.name, figure.unit): figure for figure in after.figures}
    return Comparison(
        before=f"{before.title}, {before.values['began']}",
        after=f"{after.title}, {after.values['began']}",
        differs=tuple(_differences(before.values, after.values)),
        changes=[judge(figure, second[key]) for key, figure in first.items() if key in second],
        only=(
            tuple(name for name, unit in first if (name, unit) not in second),
            tuple(name for name, unit in second if (name, unit) not in first),
        ),
    )


def judge(before: Figure, after: Figure) -> Change:
    """What became of one figure."""
    a, b = before.summary, after.summary
    spread = max(a.spread, b.spread)
    verdict: Literal["better", "worse", "same", "unknown"] = "same"
    if min(len(before.samples), len(after.samples)) < LEAST_SAMPLES:
        verdict = "unknown"
    elif abs(b.median - a.median) > spread:
        more = before.unit in MORE_IS_BETTER
        verdict = "better" if (b.median > a.median) == more else "worse"
    return Change(before.name, before.unit, a.median, b.median, spread, verdict)


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    first, second = (
        {line: value for part in PARTS for line, value in _flat(part, values[part])}
        for values in (before, after)
    )
    for name in dict.fromkeys((*first, *second)):
        a, b = first.get(name), second.get(name)
        if a != b:
            yield f"{name}: A {_told(a)}, B {_told(b)}"


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name} {key}", inner)
    else:
        yield name, value


def _told(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return str(value) if value not in (None, "") else "none"


def _row(change: Change) -> tuple[str, ...]:
    ratio = "-" if change.ratio is None else f"{change.ratio:.2f}"
    numbers = map(number_to_text, (change.before, change.after))
    spread = number_to_text(change.spread)
    return (change.name, *numbers, ratio, spread, change.unit, change.verdict)
