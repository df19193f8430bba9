"""The options of ``edge-alm bench``: mistakes are told before anything is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_reports import make_report

from edge_alm.cli.main import make_parser, run


@pytest.fixture
def reports(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a.json", tmp_path / "b.json"
    for path, values in zip(paths, ([5.0, 5.1, 5.2], [4.0, 4.1, 4.2]), strict=True):
        path.write_text(json.dumps(make_report(one=values).to_dict()), encoding="utf-8")
    return paths


def bench(*words: object) -> int:
    return run(make_parser().parse_args(["bench", *map(str, words)]))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--no-llm", "--long"], "--long: expected a language model, got --no-llm; drop one"),
        (["--no-llm", "--llm", "http://a/v1"], "--llm: expected a language model, got --no-llm"),
        (["--out", "."], ".: expected a file that can be written, got a folder"),
        (["--html", "no/such/folder/a.html"], "expected a file that can be written"),
        (["--meter", "sundial"], "meter sundial: expected auto, none, ina3221"),
        (["no.wav"], "no.wav: expected audio"),
        (["--compare", "no.json", "no.json"], "no.json: expected a report of edge-alm bench"),
    ],
)
def test_a_mistake_is_told_at_once(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(*words) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize("more", [["--quick"], ["--long"], ["--out", "x"], ["--no-llm"], ["a.wav"]])
def test_comparing_measures_nothing(
    more: list[str], reports: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    # A recording comes first: --compare takes what follows it.
    words = [*more, "--compare", *reports] if more[0] == "a.wav" else ["--compare", *reports, *more]
    assert bench(*words) == 2
    assert "--compare: expected two reports and no more" in capsys.readouterr().err


def test_two_reports_are_compared(
    reports: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("--compare", *reports) == 0
    text = capsys.readouterr().out
    assert "more/one" in text
    assert "1 better, 0 worse" in text
    assert bench("--compare", *reports, "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    changes = {change["name"]: change["verdict"] for change in json.loads(line)["changes"]}
    assert changes["more/one"] == "better"
