"""Whisper's weights in sherpa-onnx: the same words as in CTranslate2."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from conftest import ROOT, Require

from benchmarks.speech import to_words
from edge_alm.hearing.engines import open_transcriber
from edge_alm.models.bundle import load_bundle
from edge_alm.models.sherpa_folder import check_sherpa

pytest.importorskip("torch", reason="the extra export is not installed")

from export.__main__ import main as export


@pytest.fixture(scope="module")
def exported(models: Path, require: Require, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("ctranslate2", "the extra asr")
    require("sherpa_onnx", "the extra sherpa")
    out = tmp_path_factory.mktemp("sherpa") / "tiny.en"
    assert export(["sherpa", "--model", str(models / "whisper-tiny.en"), "--out", str(out)]) == 0
    return out


def test_it_is_the_8_bit_form_that_is_read(exported: Path) -> None:
    model = check_sherpa(exported)
    assert (model.kind, model.streaming) == ("whisper", False)
    assert {Path(model.arguments[part]).name for part in ("encoder", "decoder")} == {
        "encoder.int8.onnx",
        "decoder.int8.onnx",
    }


@pytest.mark.parametrize("in_8_bits", [False, True])
def test_the_same_words(exported: Path, in_8_bits: bool, tmp_path: Path) -> None:
    folder = exported
    if not in_8_bits:
        folder = tmp_path
        for path in exported.iterdir():
            if "int8" not in path.name:
                (folder / path.name).symlink_to(path)
    bundle = load_bundle()
    assert bundle.transcriber is not None
    samples, _ = soundfile.read(ROOT / "tests" / "data" / "speech_service.flac", dtype="float32")
    heard = [
        to_words(open_transcriber(engine, where).transcribe(samples).text)
        for engine, where in ((bundle.engine, bundle.transcriber), ("sherpa-onnx", folder))
    ]
    assert heard[1] == heard[0]
    assert len(heard[0]) > 10
