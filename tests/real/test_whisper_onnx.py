"""Whisper's weights in onnxruntime: the same words as in CTranslate2, in 8 bits too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from edge_alm.errors import EdgeAlmError, ModelBrokenError
from edge_alm.hearing.engines import open_transcriber
from edge_alm.models.bundle import load_bundle
from edge_alm.types import Samples
from quantize.__main__ import main as quantize

pytest.importorskip("torch", reason="the extra export is not installed")

from export.__main__ import main as export

DATA = Path(__file__).resolve().parent.parent / "data"


def read(path: Path) -> Samples:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono: Samples = soxr.resample(samples.mean(axis=1), rate, 16_000)
    return mono


@pytest.fixture(scope="module")
def published(models: Path, require: Callable[[object, str], None]) -> Path:
    require("ctranslate2", "the extra asr is not installed")
    return models / "whisper-tiny.en"


@pytest.fixture(scope="module")
def exported(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whisper") / "tiny"
    words = ["whisper", "--model", str(published), "--out", str(out), "--licence", "MIT"]
    assert export(words) == 0
    return out


@pytest.fixture(scope="module")
def in_8_bits(exported: Path) -> Path:
    out, few = exported.with_name("tiny-int8"), exported.with_name("few")
    few.mkdir()
    for name in ("hold", "wrong", "weasels"):
        shutil.copy(DATA / f"speech_{name}.flac", few)
    words = ["onnx", str(exported), "--to", "int8-dynamic", "--recordings", str(few)]
    assert quantize([*words, "--out", str(out)]) == 0
    return out


def test_the_weights_keep_their_words(published: Path, exported: Path, in_8_bits: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["ids"] == ["whisper-tiny.en"]
    assert manifest["parity"]["max_difference"] <= 1e-3
    first = open_transcriber("ctranslate2", published)
    others = [open_transcriber("onnxruntime", folder) for folder in (exported, in_8_bits)]
    for path in sorted(DATA.glob("speech_*.flac")):
        samples = read(path)
        expected = first.transcribe(samples)
        for other in others:
            got = other.transcribe(samples)
            assert got.text == expected.text
            assert got.confidence == pytest.approx(expected.confidence, abs=0.05)
        assert other.draft(samples[: len(samples) // 2]).text
    for name in ("music", "glass", "doorbell"):
        for other in others:
            assert other.transcribe(read(DATA / f"{name}.flac")).text == ""
    assert others[0].transcribe(np.zeros(16_000, np.float32)).text == ""


def test_8_bits_are_a_quarter(exported: Path, in_8_bits: Path) -> None:
    sizes = [
        sum(path.stat().st_size for path in folder.glob("*.onnx"))
        for folder in (exported, in_8_bits)
    ]
    assert sizes[1] < 0.27 * sizes[0]
    report = json.loads(in_8_bits.with_name("tiny-int8.report.json").read_text())
    assert report["models"][1]["verdict"] == "keep"
    assert report["models"][1]["words"] > 0.97
    manifest = json.loads((in_8_bits / "manifest.json").read_text())
    steps = [step["command"].split()[2] for step in manifest["produced_by"]]
    assert steps == ["export", "quantize"]


def test_a_bundle_takes_it(in_8_bits: Path) -> None:
    bundle = load_bundle(language_model=False, transcriber=f"onnxruntime:{in_8_bits}")
    assert bundle.engine == "onnxruntime"
    assert bundle.transcriber == in_8_bits


def damage(folder: Path, name: str, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("generation_config.json", lambda c: c.update(is_multilingual=True)),
        ("generation_config.json", lambda c: c.pop("no_timestamps_token_id")),
        ("tokenizer.json", lambda c: c.pop("model")),
        ("tokenizer.json", lambda c: c.update(added_tokens=[])),
    ],
)
def test_what_does_not_fit_is_told(
    in_8_bits: Path, tmp_path: Path, name: str, change: Callable[[dict[str, object]], object]
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(in_8_bits, folder)
    damage(folder, name, change)
    with pytest.raises(ModelBrokenError):
        open_transcriber("onnxruntime", folder)
    with pytest.raises(EdgeAlmError, match=r"SHA-256|bytes"):  # and a bundle sees it sooner
        load_bundle(language_model=False, transcriber=f"onnxruntime:{folder}")
