from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.errors import UsageError
from quantize.report import Report, Row
from quantize.verdict import Bounds, Figures, judge

FLOAT = Figures(1000, 2.2, 2.5, 2.0, cosine=1.0, cosine_low=1.0, esc10=0.95, answers=0.9,
                perplexity=3.0, invented=0.0)  # fmt: skip
SMALL = replace(FLOAT, bytes=300, cosine=0.999, cosine_low=0.99)


@pytest.mark.parametrize(
    ("change", "keep", "word"),
    [
        ({}, True, "0.30x the size"),
        ({"best_ms": 1.0}, True, "0.50x the time"),
        ({"best_ms": 4.0}, True, "2.00x the time"),  # smaller: worth it to some
        ({"best_ms": 4.0, "bytes": 1000}, False, "neither smaller nor better"),
        ({"best_ms": 4.0, "bytes": 1000, "esc10": 0.96}, True, "2.00x"),
        ({"best_ms": 2.05, "bytes": 1000}, True, ""),  # within the machine's noise
        ({"esc10": 0.94}, True, ""),
        ({"esc10": 0.9399}, False, "ESC-10 1.0 points lower"),
        ({"answers": 0.88}, False, "answers 2.0 points lower"),
        ({"esc10": None, "answers": None}, True, ""),
        ({"cosine": 0.97}, False, "median cosine 0.9700"),
        ({"cosine_low": 0.2}, False, "5 % quantile"),
        ({"perplexity": 3.2}, False, "perplexity +6.7%"),
        ({"perplexity": math.nan}, False, "perplexity"),
        ({"perplexity": 2.0}, True, ""),
        ({"invented": 1.0}, False, "in noise instead of"),
    ],
)
def test_verdicts(change: dict[str, float | None], keep: bool, word: str) -> None:
    verdict = judge(FLOAT, replace(SMALL, **change), Bounds())  # type: ignore[arg-type]
    assert verdict.keep is keep, verdict
    assert word in "; ".join(verdict.reasons)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_to_lose_more_is_never_better(one: float, other: float) -> None:
    worse, better = sorted((one, other))
    verdicts = [judge(FLOAT, replace(SMALL, esc10=value), Bounds()) for value in (worse, better)]
    assert verdicts[0].keep <= verdicts[1].keep


def report(*rows: Row) -> Report:
    return Report("a < b", "a machine", "python -m quantize", rows)


def test_a_report_is_written_three_times(tmp_path: Path) -> None:
    verdict = judge(FLOAT, SMALL, Bounds())
    rows = [Row("float", FLOAT), Row("int8 & co", SMALL, verdict, {"left_in_float": ["x"]})]
    paths = report(*rows).write(tmp_path / "model.onnx.report")
    assert [path.name for path in paths] == [
        f"model.onnx.report.{suffix}" for suffix in ("json", "md", "svg")
    ]
    values = json.loads(paths[0].read_text())
    assert [model["verdict"] for model in values["models"]] == [None, "keep"]
    assert values["models"][1]["left_in_float"] == ["x"]
    table = [line for line in paths[1].read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "peak" not in table[0], "of which nothing is known"
    picture = ElementTree.parse(paths[2]).getroot()
    circles = picture.findall("{*}circle")
    assert len(circles) == 2
    assert float(circles[0].get("cx", "")) > float(circles[1].get("cx", "")), "size goes across"


@given(st.integers(1, 10**12), st.floats(1e-4, 1e6))
def test_every_size_has_its_place_in_the_picture(size_bytes: int, ms: float) -> None:
    text = report(Row("x", replace(FLOAT, bytes=size_bytes, median_ms=ms))).to_svg()
    (circle,) = ElementTree.fromstring(text).findall("{*}circle")
    assert 0 < float(circle.get("cx", "")) < 640
    assert 0 < float(circle.get("cy", "")) < 400


def test_a_report_that_cannot_be_written_is_told() -> None:
    with pytest.raises(UsageError, match="can be written"):
        report(Row("float", FLOAT)).write(Path("/proc/nobody/report"))
