"""Reports to JSON and back, and what is no report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_reports import make_report, through_json
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.bench.report import FORMAT, Figure, Samples, read_report
from edge_alm.bench.table import align, describe_state, number_to_text, to_text
from edge_alm.errors import UsageError


def test_a_report_is_the_same_after_json(tmp_path: Path) -> None:
    report = make_report()
    again = through_json(report, tmp_path / "a.json")
    assert list(again.figures) == list(report.figures)
    assert again.to_dict() == json.loads(json.dumps(report.to_dict()))
    assert again.title == "tiny on Raspberry Pi 5 Model B Rev 1.0, 4 x Cortex-A76, " + (
        f"{report.values['machine']['cores']} cores"
    )


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda values: values.pop(key)


def put(key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda values: values.update({key: value})


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (without("report"), "another file"),
        (put("format", FORMAT + 1), f"format {FORMAT + 1}"),
        (without("machine"), "without machine"),
        (put("trace", []), "without trace"),
        (put("bundle", {"name": 3}), "without bundle.name"),
        (put("machine", {"model": "", "cpu": ""}), "without machine.cores"),
        (put("figures", [3]), "a figure that is no object"),
        (put("figures", [{"name": "a"}]), "without name, unit and samples"),
        (put("figures", [{"name": "a", "unit": "s", "samples": []}]), "no numbers as samples"),
        (put("figures", [{"name": "a", "unit": "s", "samples": [True]}]), "no numbers"),
        (put("figures", [{"name": "a", "unit": "s", "samples": [float("nan")]}]), "no numbers"),
    ],
)
def test_a_damaged_report_is_refused(
    damage: Callable[[dict[str, Any]], object], told: str, tmp_path: Path
) -> None:
    values = make_report().to_dict()
    damage(values)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_report(path)
    assert told in str(caught.value)
    assert "expected a report of edge-alm bench" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b'{"report": "else"}']
)
def test_a_file_that_is_no_report(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(raw)
    with pytest.raises(UsageError, match="expected a report of edge-alm bench"):
        read_report(path)
    with pytest.raises(UsageError, match="expected a report"):
        read_report(tmp_path / "none.json")


def test_samples_keep_their_order() -> None:
    samples = Samples()
    for name, value in (("b", 1.0), ("a", 2.0), ("b", 3.123456)):
        samples.add(name, "s", value)
    assert samples.figures() == (Figure("b", "s", (1.0, 3.123)), Figure("a", "s", (2.0,)))


def test_the_table_tells_every_figure_and_note() -> None:
    report = make_report()
    text = to_text(report)
    for figure in report.figures:
        assert (f"  {figure.rest}  " in text) == any(figure.samples), "what is always 0 is left out"
    assert "note: one & only <note>" in text
    assert "Raspberry Pi 5" in text
    assert "under-voltage since it started" in text


def test_a_state_without_sensors_is_not_known() -> None:
    state = dict.fromkeys(("ceiling", "throttles", "pi", "load"))
    told = describe_state({**state, "governors": [], "mhz": [], "temperatures_c": {}, "cooled": []})
    assert told == "not known: governor, clock, temperature, throttled, load"


@given(st.floats(0, 1e7))
def test_numbers_are_short_and_near(value: float) -> None:
    text = number_to_text(value)
    assert len(text) <= 10
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.01, abs=1e-5)


@given(st.lists(st.tuples(st.text("ab", max_size=9), st.text("12", max_size=9)), min_size=1))
def test_columns_stand_below_each_other(rows: list[tuple[str, str]]) -> None:
    lines = align([*rows, ("x" * 9, "y" * 9)])
    assert len(lines[-1]) == 20
    for (_, right), line in zip(rows, lines, strict=False):
        assert not right or line.endswith(right)
        assert not right or len(line) == 20
