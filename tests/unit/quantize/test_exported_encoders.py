"""Exported encoders in int8: the folder stays one that the runtime loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from audio_models import MAKERS

from edge_alm.audio.source import open_source
from edge_alm.hearing.exported import ExportedEncoder
from edge_alm.models.manifest import load_manifest
from edge_alm.models.onnx_file import check_onnx
from edge_alm.types import Frame
from export.encoder import EncoderOptions, export_encoder
from quantize.__main__ import main

DATA = Path(__file__).resolve().parents[2] / "data"
EVALUATION = ("--esc10", "none", "--scenes", 0, "--recordings", DATA / "doorbell.flac")


@pytest.mark.parametrize("name", ["audio-spectrogram-transformer", "wav2vec2"])
@pytest.mark.parametrize("to", ["int8-dynamic", "int8-static"])
def test_an_exported_encoder_in_int8_hears_as_before(
    name: str, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantize.verdict.SLOWER", 100.0)  # as small as these are they gain nothing
    monkeypatch.setattr("quantize.linear.SMALLEST", 256)
    source = MAKERS[name](tmp_path / "model")
    export_encoder(str(source), tmp_path / "float", EncoderOptions(window_s=1.0))
    words = ["onnx", tmp_path / "float", "--to", to, "--out", tmp_path / "int8", *EVALUATION]
    words += ["--calibrate", DATA / "glass.flac"]
    assert main([str(word) for word in words]) == 0
    before, after = load_manifest(tmp_path / "float"), load_manifest(tmp_path / "int8")
    assert after.front_end == before.front_end
    assert len(after.produced_by) == len(before.produced_by) + 1
    sizes = [check_onnx(tmp_path / n / "encoder.onnx").weight_bytes for n in ("float", "int8")]
    assert sizes[1] < sizes[0]
    packets = open_source(str(DATA / "crow.flac")).packets()
    window = np.concatenate([p.samples for p in packets if isinstance(p, Frame)])[:16_000]
    embeddings = [ExportedEncoder(tmp_path / name).hear(window)[1] for name in ("float", "int8")]
    norms = np.linalg.norm(embeddings[0]) * np.linalg.norm(embeddings[1])
    assert (
        float(embeddings[0] @ embeddings[1]) / norms
        > {"int8-dynamic": 0.98, "int8-static": 0.9}[to]
    )
