"""A report: what was measured, of which machine and models. JSON and back.

A report holds every sample, so that tables, pages and comparisons are made from its JSON alone.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_alm.bench.statistics import Summary, rounded, summarise
from edge_alm.errors import UsageError

KIND, FORMAT = "edge-alm bench", 1
MAX_BYTES = 64 << 20
MORE_IS_BETTER = frozenset({"tokens/s", "x real time", "GB/s"})
"""Units; of all others less is better."""

REST = "further threads, rest"
"""Of a process that listens: what llama.cpp's and CTranslate2's own threads take, and what lies
between stages."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured several times."""

    name: str
    """Parts from the general to the special: ``ask/30 s/first token``."""
    unit: str
    samples: tuple[float, ...]
    """One or more, in the order in which they were taken."""

    @property
    def summary(self) -> Summary:
        """The median and the spread."""
        return summarise(self.samples)

    @property
    def group(self) -> str:
        """The first part of its name."""
        return self.name.partition("/")[0]

    @property
    def rest(self) -> str:
        """Its name without the first part."""
        return self.name.partition("/")[2]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        found = self.summary
        numbers = {
            "median": found.median,
            "q1": found.q1,
            "q3": found.q3,
            "p95": found.p95,
            "p99": found.p99,
        }
        return {
            "name": self.name,
            "unit": self.unit,
            **{key: None if n is None else rounded(n, 6) for key, n in numbers.items()},
            "samples": list(self.samples),
        }


class Samples:
    """Collects samples by figure."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, list[float]]] = {}

    def add(self, name: str, unit: str, value: float) -> None:
        """One more sample of a figure."""
        self._found.setdefault(name, (unit, []))[1].append(rounded(value))

    def figures(self) -> tuple[Figure, ...]:
        """Each in the order of its first sample."""
        return tuple(Figure(name, unit, tuple(s)) for name, (unit, s) in self._found.items())


@dataclass(frozen=True)
class Report:
    """What a run of ``edge-alm bench`` found."""

    values: Mapping[str, Any]
    """All but the figures, as JSON has it: ``machine``, ``start`` and ``end`` (its states),
    ``bundle``, ``plan``, ``notes``, ``trace``, and the plain figures of the recording."""
    figures: Sequence[Figure]

    def find(self, name: str) -> Figure | None:
        """The figure of a name."""
        return next((figure for figure in self.figures if figure.name == name), None)

    @property
    def title(self) -> str:
        """The bundle and the machine, in a line."""
        machine, bundle = self.values["machine"], self.values["bundle"]
        parts = (machine["model"], machine["cpu"], f"{machine['cores']} cores")
        return f"{bundle['name']} on {', '.join(filter(None, parts))}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        figures = [figure.to_dict() for figure in self.figures]
        return {"report": KIND, "format": FORMAT, **self.values, "figures": figures}


_NEEDED: Mapping[str, type] = {
    "machine": dict,
    "start": dict,
    "end": dict,
    "bundle": dict,
    "plan": dict,
    "notes": list,
    "trace": dict,
    "figures": list,
    "began": str,
    "version": str,
}
_TEXTS = {"machine": ("model", "cpu"), "bundle": ("name", "sha256")}


def read_report(path: Path) -> Report:
    """A report from its file.

    Raises:
        UsageError: it cannot be read, or is no report.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error
    if len(raw) > MAX_BYTES:
        raise _refused(path, f"more than {MAX_BYTES >> 20} MB")
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _refused(path, "no JSON") from error
    if not isinstance(values, dict) or values.get("report") != KIND:
        raise _refused(path, "another file")
    if values.get("format") != FORMAT:
        raise _refused(path, f"one of format {values.get('format')!r}, not {FORMAT}")
    for key, kind in _NEEDED.items():
        if not isinstance(values.get(key), kind):
            raise _refused(path, f"one without {key}")
    for part, keys in _TEXTS.items():
        for key in keys:
            if not isinstance(values[part].get(key), str):
                raise _refused(path, f"one without {part}.{key}")
    if not isinstance(values["machine"].get("cores"), int):
        raise _refused(path, "one without machine.cores")
    figures = tuple(_figure(path, entry) for entry in values["figures"])
    rest = {k: v for k, v in values.items() if k not in ("report", "format", "figures")}
    return Report(rest, figures)


def check_writable(path: Path) -> None:
    """Tell a mistake before minutes have passed.

    Raises:
        UsageError: no file can be written there.
    """
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        got = "a folder" if path.is_dir() else "a folder that is not there or not yours"
        raise UsageError(str(path), expected="a file that can be written", got=got)


def write_file(path: Path, text: str) -> None:
    """Write a whole file.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        got = error.strerror or str(error)
        raise UsageError(str(path), expected="a file that can be written", got=got) from error


def _figure(path: Path, entry: Any) -> Figure:
    if not isinstance(entry, dict):
        raise _refused(path, "a figure that is no object")
    name, unit, samples = (entry.get(key) for key in ("name", "unit", "samples"))
    if not isinstance(name, str) or not isinstance(unit, str) or not isinstance(samples, list):
        raise _refused(path, "a figure without name, unit and samples")
    if not samples or not all(_is_number(sample) for sample in samples):
        raise _refused(path, f"no numbers as samples of {name!r}")
    return Figure(name, unit, tuple(map(float, samples)))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= 1e300 and math.isfinite(value)


def _refused(path: Path, got: str) -> UsageError:
    return UsageError(
        str(path),
        expected="a report of edge-alm bench",
        got=got,
        hint="write one by edge-alm bench --out FILE",
    )
