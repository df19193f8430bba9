"""Other engines of speech to text, chosen by name, with real models and commands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command import DATA, edge_alm
from sherpa_builders import write_tones

from edge_alm import runtime
from edge_alm.errors import MissingExtraError, ModelMissingError, UsageError
from edge_alm.types import Speech

HOME = DATA / "home.flac"
SPOKEN_S = [5.96, 13.09]
"""When someone begins to speak in it."""

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture
def tones(tmp_path: Path, require: object) -> Path:
    assert callable(require)
    require("onnx", "the extra export")
    require("sherpa_onnx", "the extra sherpa")
    return write_tones(tmp_path / "tones", streaming=True)


def test_faster_whisper_hears_the_same(require: object) -> None:
    assert callable(require)
    require("faster_whisper", "the extra faster-whisper")
    require("ctranslate2", "the extra asr")
    said = {}
    for engine in ("ctranslate2", "faster-whisper"):
        with runtime.load(llm=False, transcribe=engine) as ears:
            said[engine] = [e for e in ears.listen(HOME) if isinstance(e, Speech)]
    own, other = said.values()
    assert [(e.text, e.start, e.end) for e in own] == [(e.text, e.start, e.end) for e in other]
    assert [e.start for e in own] == pytest.approx(SPOKEN_S, abs=0.1)


def test_a_folder_of_sherpa_onnx_is_heard(tones: Path) -> None:
    done = edge_alm("listen", HOME, "--json", "--transcriber", f"sherpa-onnx:{tones}")
    assert (done.status, done.err) == (0, "")
    spoken = [e for e in done.events if isinstance(e, Speech)]
    assert [e.start for e in spoken] == pytest.approx(SPOKEN_S, abs=0.1)
    assert {word for e in spoken for word in e.text.split()} == {"low", "high"}


def test_a_model_that_ends_the_process_of_sherpa_is_a_mistake(tones: Path) -> None:
    write_tones(tones, streaming=False, vocab_size=None)
    done = edge_alm("listen", HOME, "--transcriber", f"sherpa-onnx:{tones}")
    assert "vocab_size" in done.mistake()
    (tones / "tokens.txt").write_text("no tokens")
    done = edge_alm("listen", HOME, "--transcriber", f"sherpa-onnx:{tones}")
    assert "tokens.txt" in done.mistake()


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("vosk", "ctranslate2, faster-whisper, onnxruntime, sherpa-onnx"),
        ("sherpa-onnx", "sherpa-onnx:DIR"),
    ],
)
def test_an_engine_that_cannot_be_is_a_mistake(choice: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        runtime.load(llm=False, transcribe=choice)


def test_what_was_chosen_must_be_there(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelMissingError, match="none"):
        runtime.load(llm=False, transcribe=f"faster-whisper:{tmp_path / 'none'}")
    monkeypatch.setitem(sys.modules, "sherpa_onnx", None)
    with pytest.raises(MissingExtraError, match=r"edge-alm\[sherpa\]"):
        runtime.load(llm=False, transcribe=f"sherpa-onnx:{tones}")
