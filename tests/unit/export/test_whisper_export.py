"""A tiny seeded Whisper, whole, through ONNX: what it hears and what it writes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_models import save_whisper

from edge_alm.errors import RefusedError, UsageError
from edge_alm.models.manifest import Manifest, load_manifest, read_golden
from export.__main__ import main
from export.graph import runner
from export.towers import FRAMES
from export.whisper import CACHE, CROSS, LOGITS, NEW_CACHE, export_whisper


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper") / "tiny-whisper"
    return save_whisper(folder, "WhisperForConditionalGeneration")


@pytest.fixture(scope="module")
def made(source: Path) -> tuple[Path, Manifest]:
    out = source.parent / "made"
    return out, export_whisper(str(source), out)


def test_it_hears_and_writes_as_transformers_does(made: tuple[Path, Manifest]) -> None:
    folder, manifest = made
    assert load_manifest(folder) == manifest
    assert manifest.parity["max_difference"] <= 1e-3
    assert manifest.parity["by_output"].keys() == {FRAMES, *CROSS, LOGITS}
    for graph in manifest.graphs.values():
        inputs, outputs = read_golden(folder, graph)
        got = runner(folder / graph.file)(inputs)
        for name, expected in outputs.items():
            np.testing.assert_allclose(got[name], expected, atol=1e-3)
            assert np.abs(expected).max() > 0.05
    assert (folder / "generation_config.json").is_file()


def test_what_is_heard_apart_is_joined_to_the_same_words(made: tuple[Path, Manifest]) -> None:
    """Keys and values are linear in the frames: silence can be encoded once and appended."""
    folder, manifest = made
    _, outputs = read_golden(folder, manifest.graphs["encoder"])
    decode = runner(folder / manifest.graphs["decoder"].file)
    layers, batch, heads, time, width = outputs[CROSS[0]].shape
    halves = [
        {name: outputs[name][..., part, :] for name in CROSS}
        for part in (slice(0, time // 2), slice(time // 2, time))
    ]
    joined = {name: np.concatenate([half[name] for half in halves], axis=3) for name in CROSS}
    cache: dict[str, Any] = dict.fromkeys(
        CACHE, np.zeros((layers, batch, heads, 0, width), np.float32)
    )
    tokens = np.array([[1, 5, 9]])
    whole = decode({"tokens": tokens, **cache, **joined})
    for i in range(3):
        found = decode({"tokens": tokens[:, i : i + 1], **cache, **joined})
        np.testing.assert_allclose(found[LOGITS][0, 0], whole[LOGITS][0, i], atol=1e-4)
        cache = {old: found[new] for old, new in zip(CACHE, NEW_CACHE, strict=True)}
    assert cache[CACHE[0]].shape == (layers, batch, heads, 3, width)


def test_what_is_no_whisper_or_differs_leaves_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RefusedError, match="parity of"):
        export_whisper(str(source), tmp_path / "out", limit=0.0)
    other = save_whisper(tmp_path / "classifier", "WhisperForAudioClassification")
    with pytest.raises(UsageError, match="one that classifies"):
        export_whisper(str(other), tmp_path / "out")
    assert main(["whisper", "--model", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_what_sherpa_cannot_read_leaves_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["sherpa", "--model", str(source), "--out", str(out)]) == 2
    assert "expected tokenizer.json" in capsys.readouterr().err
    classifier = save_whisper(tmp_path / "classifier", "WhisperForAudioClassification")
    assert main(["sherpa", "--model", str(classifier), "--out", str(out)]) == 2
    broken = shutil.copytree(source, tmp_path / "broken")
    (broken / "tokenizer.json").write_text("{}")
    assert main(["sherpa", "--model", str(broken), "--out", str(out)]) == 2
    assert "expected Whisper's tokens" in capsys.readouterr().err
    assert not out.exists()
