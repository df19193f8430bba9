"""sherpa-onnx itself, with models that tell a low tone from a high one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sherpa_builders import write_tones

from edge_alm.errors import MissingExtraError, ModelBrokenError
from edge_alm.hearing.sherpa import SherpaTranscriber
from edge_alm.types import Samples

RATE = 16_000


@pytest.fixture(autouse=True)
def _packages(require: object) -> None:
    assert callable(require)
    require("onnx", "the extra export")
    require("sherpa_onnx", "the extra sherpa")


def tones(*frequencies_hz: float) -> Samples:
    time_s = np.arange(RATE // 2) / RATE
    silence = np.zeros(RATE // 4)
    parts = [
        np.concatenate((silence, 0.3 * np.sin(2 * np.pi * f * time_s))) for f in frequencies_hz
    ]
    return np.concatenate((*parts, silence)).astype(np.float32)


@pytest.mark.parametrize("streaming", [False, True])
def test_offline_and_streaming_models_write_what_they_hear(tmp_path: Path, streaming: bool) -> None:
    transcriber = SherpaTranscriber(write_tones(tmp_path, streaming=streaming))
    said = {
        frequencies_hz: transcriber.transcribe(tones(*frequencies_hz)).text
        for frequencies_hz in [(400,), (4000, 400), (400, 4000, 4000)]
    }
    assert list(said.values()) == ["low", "high low", "low high high"]
    assert transcriber.draft(tones(400)) == transcriber.transcribe(tones(400))
    for samples in (1, 100, RATE // 10, 20 * RATE):
        assert transcriber.transcribe(np.zeros(samples, np.float32)).text == ""


@pytest.mark.parametrize(
    "metadata", [{"vocab_size": None}, {"subsampling_factor": "x"}, {"normalize_type": "odd"}]
)
def test_what_ends_the_process_of_sherpa_is_refused_in_one_line(
    tmp_path: Path, metadata: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelBrokenError, match="sherpa-onnx can run") as refusal:
        SherpaTranscriber(write_tones(tmp_path, streaming=False, **metadata))
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr().err == ""


def test_sherpa_does_not_survive_it(tmp_path: Path) -> None:
    """Or the trial in a process of its own is no longer needed."""
    folder = write_tones(tmp_path, streaming=False, vocab_size=None)
    code = f"from edge_alm.hearing.sherpa import *; try_folder(Path({str(folder)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sherpa_onnx", None)
    with pytest.raises(MissingExtraError, match=r"edge-alm\[sherpa\]"):
        SherpaTranscriber(write_tones(tmp_path, streaming=False))
