"""What counts as a change between two reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_reports import make_report, through_json
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.bench.compare import LEAST_SAMPLES, compare, judge
from edge_alm.bench.report import MORE_IS_BETTER, Figure, Report

OPPOSITE = {"better": "worse", "worse": "better", "same": "same", "unknown": "unknown"}
samples = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=30).map(tuple)
units = st.sampled_from(["ms", "s", "% of a core", *MORE_IS_BETTER])


@given(samples, samples, units)
def test_the_other_way_round_is_the_opposite(
    a: tuple[float, ...], b: tuple[float, ...], unit: str
) -> None:
    there, back = (
        judge(Figure("x", unit, first), Figure("x", unit, second))
        for first, second in ((a, b), (b, a))
    )
    assert back.verdict == OPPOSITE[there.verdict]
    assert back.spread == there.spread


@given(samples, units)
def test_a_report_does_not_differ_from_itself(a: tuple[float, ...], unit: str) -> None:
    verdict = judge(Figure("x", unit, a), Figure("x", unit, a)).verdict
    assert verdict == ("unknown" if len(a) < LEAST_SAMPLES else "same")


@given(st.lists(st.floats(1, 10), min_size=3, max_size=9), st.floats(0, 100), units)
def test_a_shift_counts_once_it_exceeds_the_spread(
    values: list[float], shift: float, unit: str
) -> None:
    before = Figure("x", unit, tuple(values))
    after = Figure("x", unit, tuple(value + shift for value in values))
    change = judge(before, after)
    if abs(shift - change.spread) > 1e-6:  # there rounding decides
        wanted = "better" if unit in MORE_IS_BETTER else "worse"
        assert change.verdict == (wanted if shift > change.spread else "same")


def test_two_machines_are_told_apart(tmp_path: Path) -> None:
    pi = through_json(make_report(alone=[1.0, 1.1, 1.2], both=[5.0] * 3), tmp_path / "a.json")
    laptop = through_json(make_report("laptop", both=[4.0] * 3), tmp_path / "b.json")
    found = compare(pi, laptop)
    text = found.to_text()
    assert text.startswith("A  tiny on Raspberry Pi 5")
    assert "\nB  tiny on LENOVO 20L5" in text
    assert "machine model: A Raspberry Pi 5 Model B Rev 1.0, B LENOVO 20L5" in text
    assert "only in A: more/alone" in text
    assert "only in B" not in text
    (told,) = (line for line in text.splitlines() if line.startswith("more/both"))
    assert told.split() == ["more/both", "5.00", "4.00", "0.80", "0", "ms", "better"]
    assert "1 better, 0 worse" in text
    assert json.loads(json.dumps(found.to_dict()))["only"] == [["more/alone"], []]


def test_the_same_report_twice() -> None:
    found = compare(make_report(), make_report())
    assert found.differs == ()
    assert {change.verdict for change in found.changes} == {"same", "unknown"}
    assert "0 better, 0 worse" in found.to_text()


def test_a_median_of_nothing_has_no_ratio() -> None:
    change = judge(Figure("x", "ms", (0.0,) * 3), Figure("x", "ms", (1.0,) * 3))
    assert (change.verdict, change.ratio) == ("worse", None)


@pytest.mark.parametrize("unit", ["ms", "tokens/s"])
def test_another_unit_is_another_figure(unit: str) -> None:
    values = make_report().values
    before, after = (Report(values, [Figure("x", u, (1.0,) * 3)]) for u in ("ms", unit))
    assert bool(compare(before, after).changes) == (unit == "ms")
