from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from model_builders import (
    encoder_onnx,
    gguf_file,
    small_onnx,
    write_ctranslate2,
    write_projector,
)

from edge_alm.errors import ModelBrokenError, ModelMissingError, UsageError
from edge_alm.models import store
from edge_alm.models.bundle import load_bundle


def own(folder: Path, name: str) -> dict[str, str]:
    return {"file": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}


def write_bundle(folder: Path, **change: Any) -> Path:
    """A bundle whose files are all its own but the transcriber."""
    files = {
        "vad.onnx": small_onnx(),
        "encoder.onnx": encoder_onnx(),
        "labels.csv": b"index,mid,display_name\n",
        "lm.gguf": gguf_file(),
        "lora.gguf": gguf_file(),
    }
    for name, content in files.items():
        if not (folder / name).exists():
            (folder / name).write_bytes(content)
    if not (folder / "projector.npz").exists():
        write_projector(folder / "projector.npz")
    definition = {
        "name": "test",
        "vad": own(folder, "vad.onnx"),
        "encoder": own(folder, "encoder.onnx"),
        "labels": own(folder, "labels.csv"),
        "transcriber": {"artefact": "whisper-tiny.en"},
        "language_model": own(folder, "lm.gguf"),
        "projector": own(folder, "projector.npz"),
        "context_tokens": 512,
        **change,
    }
    (folder / "bundle.json").write_text(json.dumps(definition))
    return folder


@pytest.fixture(autouse=True)
def whisper(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose transcriber is a small folder."""
    folder = write_ctranslate2(tmp_path_factory.mktemp("whisper"))
    monkeypatch.setattr(store, "locate", {"whisper-tiny.en": folder}.__getitem__)
    return folder


def test_a_folder_gives_its_files(tmp_path: Path, whisper: Path) -> None:
    bundle = load_bundle(write_bundle(tmp_path, adapter=None))
    assert (bundle.name, bundle.context_tokens) == ("test", 512)
    assert bundle.vad == tmp_path / "vad.onnx"
    assert bundle.language_model == tmp_path / "lm.gguf"
    assert bundle.projector == tmp_path / "projector.npz"
    assert bundle.transcriber == whisper
    assert bundle.adapter is None
    definition = (tmp_path / "bundle.json").read_bytes()
    assert bundle.sha256 == hashlib.sha256(definition).hexdigest()


def test_what_is_not_asked_for_is_not_looked_at(tmp_path: Path) -> None:
    write_bundle(tmp_path, transcriber={"artefact": "absent"})
    for name in ("lm.gguf", "projector.npz"):
        (tmp_path / name).unlink()
    bundle = load_bundle(tmp_path, language_model=False, transcriber=False)
    assert (bundle.language_model, bundle.projector, bundle.transcriber) == (None, None, None)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    (tmp_path / "labels.csv").write_text("index\n")
    with pytest.raises(ModelBrokenError, match="SHA-256"):
        load_bundle(tmp_path)
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(ModelMissingError, match="labels"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [(1024, 33, "language model's embedding"), (1000, 32, "encoder's embedding")],
)
def test_a_projector_of_other_widths_is_refused(
    tmp_path: Path, inputs: int, outputs: int, words: str
) -> None:
    write_projector(tmp_path / "projector.npz", inputs=inputs, outputs=outputs)
    with pytest.raises(ModelBrokenError, match=words):
        load_bundle(write_bundle(tmp_path))


def test_an_encoder_without_an_embedding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(small_onnx())
    with pytest.raises(ModelBrokenError, match="embedding"):
        load_bundle(write_bundle(tmp_path))


def test_a_context_beyond_the_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelBrokenError, match="expected 512, got 513"):
        load_bundle(write_bundle(tmp_path, context_tokens=513))


def test_a_projector_in_the_language_models_place_is_refused(tmp_path: Path) -> None:
    clip: dict[str, object] = {"general.architecture": "clip"}
    (tmp_path / "lm.gguf").write_bytes(gguf_file(clip, [("mm.weight", (8,), 0, 0)]))
    with pytest.raises(ModelBrokenError, match="language model"):
        load_bundle(write_bundle(tmp_path))


def test_an_adapter_of_another_architecture_is_refused(tmp_path: Path) -> None:
    keys: dict[str, object] = {"general.architecture": "qwen2"}
    (tmp_path / "lora.gguf").write_bytes(gguf_file(keys, [("a", (8,), 0, 0)]))
    write_bundle(tmp_path)
    with pytest.raises(ModelBrokenError, match="expected llama, got qwen2"):
        load_bundle(write_bundle(tmp_path, adapter=own(tmp_path, "lora.gguf")))


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"name": 7},
        {"context_tokens": 0},
        {"context_tokens": True},
        {"context_tokens": "4096"},
        {"vad": "vad.onnx"},
        {"vad": {"file": "vad.onnx"}},
        {"vad": {"file": 1, "sha256": ""}},
        {"vad": {"file": "../vad.onnx", "sha256": "0" * 64}},
        {"vad": {"file": "/etc/passwd", "sha256": "0" * 64}},
    ],
)
def test_a_wrong_definition_is_the_users_mistake(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        load_bundle(write_bundle(tmp_path, **change))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"name": "x"}', "\xff"])
def test_what_is_no_definition_is_the_users_mistake(tmp_path: Path, text: str) -> None:
    (tmp_path / "bundle.json").write_text(text, encoding="latin-1")
    with pytest.raises(UsageError):
        load_bundle(tmp_path)


def test_an_unknown_bundle_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match="default"):
        load_bundle("nix")
