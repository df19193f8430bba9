"""Listening as ever, and a language model that hears the last seconds itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("llama_cpp")
pytest.importorskip("gguf")
from native_models import write_language_model, write_mmproj

import edge_alm
from edge_alm.errors import ModelBrokenError
from edge_alm.models.bundle import load_bundle
from edge_alm.types import Answer, Sound
from export.native import make_native

DATA = Path(__file__).resolve().parents[1] / "data"
CHOICES = ("glass", "rain", "a dog")


@pytest.fixture(scope="module")
def native(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("native")
    model, mmproj = (
        write_language_model(folder / "model.gguf"),
        write_mmproj(folder / "mmproj.gguf"),
    )
    make_native(model, mmproj, folder / "ears", window_s=4.0, licence="CC0-1.0")
    return folder / "ears"


def test_events_are_as_ever_and_the_answer_depends_on_the_audio(native: Path) -> None:
    def hear(bundle: Path | str, llm: bool = True) -> tuple[list[object], Answer | None]:
        with edge_alm.load(bundle, llm=llm, transcribe=False) as ears:
            events = list(ears.listen(DATA / "glass.flac"))
            answer = ears.ask("What was heard?", choices=CHOICES) if llm else None
        return [e for e in events if isinstance(e, Sound)], answer

    events, answer = hear(native)
    assert events == hear("default", llm=False)[0]
    assert events
    assert hear(native)[1] is not None
    assert answer is not None
    with edge_alm.load(native, transcribe=False) as ears:
        for _ in ears.listen(DATA / "glass.flac"):
            pass
        again = ears.ask("What was heard?", choices=CHOICES)
        late = ears.ask("What was heard?", choices=CHOICES, since_s=1e6)
        ears.reset()
        deaf = ears.ask("What was heard?", choices=CHOICES, since_s=1e6)
    assert again.confidence == answer.confidence
    assert late.confidence != answer.confidence
    assert deaf.choice in CHOICES


def test_the_command_asks_it(native: Path) -> None:
    command = [sys.executable, "-m", "edge_alm", "ask", str(DATA / "glass.flac"), "What broke?"]
    command += ["--bundle", str(native), "--choice", "glass", "--choice", "rain", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["choice"] in CHOICES
    assert done.stderr == ""


def test_its_files_are_held_to_their_hashes(native: Path, tmp_path: Path) -> None:
    bundle = load_bundle(native)
    assert bundle.audio_projector == native / "mmproj.gguf"
    assert (bundle.audio_window_s, bundle.projector, bundle.adapter) == (4.0, None, None)
    assert load_bundle(native, language_model=False).audio_projector is None
    assert str(tmp_path) not in (native / "bundle.json").read_text()
    write_mmproj(tmp_path / "other.gguf", seed=5).replace(native / "mmproj.gguf")
    with pytest.raises(ModelBrokenError, match="SHA-256"):
        load_bundle(native)
