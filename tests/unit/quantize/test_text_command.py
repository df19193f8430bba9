"""``python -m quantize onnx`` on a sentence encoder of ``python -m export text``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from text_models import save_bert

from edge_alm.models.manifest import load_manifest, read_golden
from edge_alm.models.sentences_folder import TEXT_GRAPH
from edge_alm.reasoning.phrases import Floats
from edge_alm.reasoning.sentences import Sentences
from export.minilm import export_minilm
from quantize import text_files
from quantize.__main__ import main

TEXTS = [f"{a} {b}" for a in ("dog", "rain", "zebra", "bark") for b in "abcdefghij"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    export_minilm(save_bert(folder / "bert"), folder / "made")
    return folder / "made"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "phrases", lambda: TEXTS)


def quantise(model: Path, out: Path, to: str = "int8-dynamic") -> int:
    return main(["onnx", str(model), "--to", to, "--out", str(out)])


@pytest.mark.parametrize("to", ["int8-dynamic", "int8-weights"])
def test_it_is_smaller_and_means_the_same(
    made: Path, tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert quantise(made, out, to) == 0
    before, after = load_manifest(made), load_manifest(out)
    name = before.graphs[TEXT_GRAPH].file
    assert after.files[name].bytes < 0.5 * before.files[name].bytes
    assert len(after.produced_by) == len(before.produced_by) + 1
    cosines = (Sentences(made)(TEXTS) * Sentences(out)(TEXTS)).sum(axis=1)
    assert 0.98 <= cosines.min() < 1.0 - 1e-7
    assert f"least cosine of {len(TEXTS)} phrases {cosines.min():.4f}" in capsys.readouterr().out
    told = json.loads((tmp_path / "out.report.json").read_text())["models"][1]
    assert told["least_cosine"] == pytest.approx(cosines.min(), abs=1e-6)
    _, golden = read_golden(out, after.graphs[TEXT_GRAPH])
    assert np.isfinite(golden["embedding"]).all()


def test_one_phrase_too_far_off_is_enough_to_refuse(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encode = Sentences.__call__
    calls: list[str] = []

    def encode_all(self: Sentences, texts: Sequence[str]) -> Floats:
        found = encode(self, texts)
        calls.extend(texts if len(texts) > 1 else [])
        if len(texts) > 1 and len(calls) > len(texts):  # the quantised one
            found[0] = -found[0]
        return found

    monkeypatch.setattr(Sentences, "__call__", encode_all)
    assert quantise(made, tmp_path / "out", "int8-weights") == 3
    told = capsys.readouterr().err
    assert "least cosine -" in told
    assert "quantile" not in told
    assert not (tmp_path / "out").exists()


def test_a_kind_that_needs_a_calibration_is_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantise(made, tmp_path / "out", "int8-static") == 2
    assert "int8-static" in capsys.readouterr().err


def test_phrases_are_class_names_and_paraphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = text_files.phrases()
    assert {"rain", "crowing, cock-a-doodle-doo", "a hound barking"} <= set(found)
    assert len(found) == 521 + 200
