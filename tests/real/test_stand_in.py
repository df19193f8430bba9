"""A bundle whose encoder another one stands in for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, environment
from conftest import Require

from edge_alm.models.bundle import load_bundle


@pytest.fixture
def tiny(require: Require) -> Path:
    require("llama_cpp", "the extra llm")
    require("torch", "the extra export")
    return ROOT / "edge_alm" / "bundles" / "tiny"


def stand_in(bundle: Path, encoder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = ["--bundle", str(bundle), "--encoder", str(encoder), "--out", str(out)]
    return subprocess.run(
        [sys.executable, "-m", "export.stand_in", *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        check=False,
    )


def test_it_answers_as_the_bundle_does_whose_encoder_it_is_like(
    models: Path, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "other"
    done = stand_in(tiny, models / "yamnet" / "yamnet.onnx", out)
    assert done.returncode == 0, done.stderr
    bundle, own = load_bundle(out), load_bundle(tiny)
    assert (bundle.name, bundle.encoder.parent) == ("other", out)
    golden, expected = (json.loads((each / "bundle.json").read_text()) for each in (out, tiny))
    assert golden["golden"]["answer"] == expected["golden"]["answer"]
    assert "results" not in golden["about"], "they are of another encoder"
    assert bundle.phrases is not None
    assert own.phrases is not None
    assert bundle.phrases.read_bytes() == own.phrases.read_bytes()


def test_one_that_puts_out_another_embedding_is_refused(
    models: Path, tiny: Path, tmp_path: Path
) -> None:
    import torch

    from export.student import Student, StudentConfig, write_onnx

    torch.manual_seed(0)
    write_onnx(Student(StudentConfig(width=0.0625, depth=0), 521).eval(), tmp_path / "small.onnx")
    done = stand_in(tiny, tmp_path / "small.onnx", tmp_path / "other")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "inputs (the encoder's embedding" in done.stderr
