from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_models import write_encoder, write_llama

from quantize.__main__ import main

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(autouse=True)
def any_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks this small gain no time."""
    monkeypatch.setattr("quantize.verdict.SLOWER", 100.0)


def sweep(model: Path, out: Path, *more: object) -> int:
    words = ["sweep", model, "--out", out, "--esc10", "none", "--scenes", 0, "--bundle", "none"]
    words += ["--recordings", DATA / "doorbell.flac", *more]
    return main([str(word) for word in words])


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_encoder_in_every_form_that_needs_no_calibration(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert sweep(write_encoder(tmp_path / "e.onnx"), out) == 0
    report = json.loads((out / "e.sweep.json").read_text())
    forms = ["int8-weights", "int8-dynamic", "int4"]
    assert [model["name"] for model in report["models"]] == ["float", *forms]
    kept = [model["name"] for model in report["models"] if model["verdict"] == "keep"]
    assert kept
    tables = [f"e.sweep.{suffix}" for suffix in ("json", "md", "svg")]
    assert left(out) == sorted([*tables, *(f"e-{form}.onnx" for form in kept)])


def test_what_is_refused_is_in_the_table_and_not_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantize.verdict.SLOWER", 0.0)
    monkeypatch.setattr("quantize.verdict.SMALLER", 0.0)
    out = tmp_path / "out"
    assert sweep(write_encoder(tmp_path / "e.onnx"), out, "--to", "int8-dynamic") == 0
    assert "**refuse**" in (out / "e.sweep.md").read_text()
    assert left(out) == [f"e.sweep.{suffix}" for suffix in ("json", "md", "svg")]


def test_a_language_model_in_the_types_named(
    tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    require("llama_cpp", "the extra llm")
    out = tmp_path / "out"
    model = write_llama(tmp_path / "m.gguf")
    assert sweep(model, out, "--to", "Q8_0", "--to", "Q4_0", "--no-importance") == 0
    report = json.loads((out / "m.sweep.json").read_text())
    was, *now = report["models"]
    assert [entry["name"] for entry in now] == ["Q8_0", "Q4_0"]
    assert was["bytes"] > now[0]["bytes"] > now[1]["bytes"]
    assert not now[1]["importance_matrix"]


def test_a_form_that_cannot_be_made_is_told_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    model = write_encoder(tmp_path / "e.onnx")
    forms = ("--to", "int8-static", "--to", "int8-weights")
    assert sweep(model, out, *forms) == 0
    assert "without int8-static: " in capsys.readouterr().out
    assert sweep(model, out, "--to", "int8-static") == 2
    assert sweep(model, out, "--to", "int3") == 2
    assert "int8-weights" in capsys.readouterr().err
    assert not [name for name in left(out) if name.startswith(".")]
