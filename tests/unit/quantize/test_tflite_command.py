from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from small_models import CLASSES, make_encoder, write_encoder

from edge_alm.errors import UsageError
from edge_alm.hearing.encoder import cut_patches
from edge_alm.hearing.exported import open_encoder
from edge_alm.models.onnx_session import open_session
from quantize.__main__ import main
from quantize.recordings import read_samples
from quantize.torch_graph import to_torch

DATA = Path(__file__).resolve().parents[2] / "data"
HAS_CONVERTER = all(
    importlib.util.find_spec(name) for name in ("litert_torch", "ai_edge_quantizer")
)


def convert(model: Path, out: Path, *more: str | Path) -> int:
    words = ["tflite", model, "--out", out, "--esc10", "none", *more]
    return main([str(word) for word in (*words, "--recordings", DATA / "doorbell.flac")])


def write_labels(path: Path) -> Path:
    rows = "".join(f"{i},,class {i}\n" for i in range(CLASSES))
    path.write_text("index,mid,display_name\n" + rows)
    return path


def test_torch_computes_the_same(tmp_path: Path) -> None:
    path = write_encoder(tmp_path / "e.onnx")
    patches = np.random.default_rng(0).standard_normal((3, 1, 96, 64)).astype(np.float32)
    expected = open_session(path).run(["class_scores", "embedding"], {"audio": patches})
    got = to_torch(onnx.load(path))(torch.from_numpy(patches))
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_allclose(b.numpy(), a, rtol=1e-4, atol=1e-4)


def test_other_operators_are_named() -> None:
    model = make_encoder()
    model.graph.node.append(helper.make_node("Softmax", ["class_scores"], ["share"]))
    with pytest.raises(UsageError, match="Softmax"):
        to_torch(model)


@pytest.mark.skipif(HAS_CONVERTER, reason="it is installed")
def test_a_missing_converter_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(write_encoder(tmp_path / "e.onnx"), tmp_path / "e.tflite") == 2
    assert "pip install litert-torch ai-edge-quantizer" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["e.onnx"]


# No extra brings the converter (JAX, 0.6 GB), so that this runs where someone installed it.
@pytest.mark.skipif(not HAS_CONVERTER, reason="litert-torch is not installed")
@pytest.mark.filterwarnings("default")
def test_an_encoder_for_litert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantize.verdict.SLOWER", 100.0)
    out, kept = tmp_path / "out" / "e.tflite", tmp_path / "float.tflite"
    assert convert(write_encoder(tmp_path / "e.onnx"), out, "--float", kept) == 0
    assert out.read_bytes()[4:8] == b"TFL3"
    labels = write_labels(tmp_path / "labels.csv")
    ours, floats, theirs = (open_encoder(path, labels) for path in (out, kept, tmp_path / "e.onnx"))
    samples = read_samples(DATA / "doorbell.flac")
    for patch in cut_patches(samples):
        got, same, expected = (encoder.encode(patch) for encoder in (ours, floats, theirs))
        np.testing.assert_allclose(same[0], expected[0], atol=1e-3)
        # Random logits spread over 60, of which 8 bits cost a few tenths.
        np.testing.assert_allclose(got[0], expected[0], atol=0.2)
        assert got[1] @ expected[1] > 0.99 * np.linalg.norm(got[1]) * np.linalg.norm(expected[1])
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")]
