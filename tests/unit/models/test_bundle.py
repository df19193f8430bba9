from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_builders import (
    encoder_onnx,
    gguf_file,
    sentences_onnx,
    small_onnx,
    write_ctranslate2,
    write_projector,
)
from phrase_files import sentence_arrays, write_phrases
from tflite_files import write_tflite

from edge_alm.errors import ModelBrokenError, ModelMissingError, UsageError
from edge_alm.models import store
from edge_alm.models.bundle import SCENE_FORMAT, about_bundle, load_bundle, shipped_bundles
from edge_alm.models.catalog import DEFAULT_BUNDLE
from edge_alm.models.manifest import MANIFEST, Graph, Manifest, Tensor, write_manifest
from edge_alm.models.onnx_file import check_onnx
from edge_alm.reasoning import prompts

LM_TENSORS = (
    ("token_embd.weight", (32, 3), 0, 0),
    ("blk.0.attn_k.weight", (32, 8), 0, 384),
)
LM_BYTES = 384 + 32 * 8 * 4


def lora_gguf(
    *,
    target: str = "blk.0.attn_k.weight",
    a: tuple[int, ...] = (32, 4),
    b: tuple[int, ...] = (4, 8),
    **keys: str,
) -> bytes:
    """A LoRA of one matrix; ``keys`` with _ for a dot."""
    declared: dict[str, object] = {"general.architecture": "llama", "adapter.type": "lora"}
    declared |= {key.replace("_", "."): value for key, value in keys.items()}
    tensors = [(f"{target}.lora_a", a, 0, 0), (f"{target}.lora_b", b, 0, 4 * math.prod(a))]
    return gguf_file(declared, tensors, data_bytes=4 * (math.prod(a) + math.prod(b)))


def golden(folder: Path, **change: Any) -> dict[str, Any]:
    return {
        **own(folder, "clip.wav"),
        "question": "what is heard?",
        "scores": {"a dog": 0.9, "rain": 0.1},
        "answer": "a dog",
        "tolerance": 0.05,
        **change,
    }


def own(folder: Path, name: str) -> dict[str, str]:
    return {"file": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}


def write_bundle(folder: Path, **change: Any) -> Path:
    """A bundle whose files are all its own but the transcriber."""
    files = {
        "vad.onnx": small_onnx(),
        "encoder.onnx": encoder_onnx(),
        "labels.csv": b"index,mid,display_name\n",
        "lm.gguf": gguf_file(tensors=LM_TENSORS, data_bytes=LM_BYTES),
        "lora.gguf": lora_gguf(),
        "clip.wav": b"RIFF",
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
        "scene_format": SCENE_FORMAT,
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


def test_the_engine_and_its_model_can_be_chosen(tmp_path: Path, whisper: Path) -> None:
    own = write_ctranslate2(tmp_path / "asr")
    artefact, folder = {"artefact": "whisper-tiny.en"}, {"folder": "asr"}
    cases: list[tuple[dict[str, str], bool | str, str, Path]] = [
        (artefact, True, "ctranslate2", whisper),
        (artefact, "faster-whisper", "faster-whisper", whisper),
        (artefact | {"engine": "faster-whisper"}, True, "faster-whisper", whisper),
        (artefact | {"engine": "faster-whisper"}, "ctranslate2", "ctranslate2", whisper),
        (folder, True, "ctranslate2", own),
        (artefact, f"ctranslate2:{own}", "ctranslate2", own),
    ]
    for entry, choice, engine, path in cases:
        bundle = load_bundle(write_bundle(tmp_path, transcriber=entry), transcriber=choice)
        assert (bundle.engine, bundle.transcriber) == (engine, path)


@pytest.mark.parametrize(
    ("entry", "choice", "words"),
    [
        ({"artefact": "whisper-tiny.en", "engine": "vosk"}, True, "faster-whisper"),
        ({"artefact": "whisper-tiny.en"}, "vosk", "faster-whisper"),
        ({"artefact": "whisper-tiny.en"}, "sherpa-onnx", "sherpa-onnx:DIR"),
        ({"folder": "../asr"}, True, "in the bundle's folder"),
        ({"folder": "asr", "artefact": "x"}, True, "artefact or folder"),
        ({"engine": "ctranslate2"}, True, "artefact or folder"),
        ({"folder": 3}, True, "artefact or folder"),
        ("asr", True, "an object"),
    ],
)
def test_a_transcriber_that_cannot_be_is_refused(
    tmp_path: Path, entry: Any, choice: bool | str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        load_bundle(write_bundle(tmp_path, transcriber=entry), transcriber=choice)


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
    [(1028, 33, "language model's embedding"), (1024, 32, "encoder's embedding")],
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


def test_a_phrase_table_of_another_width_is_refused(tmp_path: Path) -> None:
    write_phrases(tmp_path / "phrases.npz", n_in=1024)
    folder = write_bundle(tmp_path, phrases=own(tmp_path, "phrases.npz"))
    assert load_bundle(folder).phrases == tmp_path / "phrases.npz"
    assert load_bundle(folder, language_model=False).phrases == tmp_path / "phrases.npz"
    write_phrases(tmp_path / "phrases.npz", n_in=1000)
    with pytest.raises(ModelBrokenError, match="embedding"):
        load_bundle(write_bundle(tmp_path, phrases=own(tmp_path, "phrases.npz")))


def write_sentences(folder: Path, **change: Any) -> dict[str, str]:
    """A sentence encoder's folder within a bundle's, whose network does nothing."""
    folder.mkdir(exist_ok=True)
    (folder / "minilm.onnx").write_bytes(sentences_onnx(6))
    (folder / "vocab.txt").write_text("[CLS]\n[SEP]\n[UNK]\n")
    ids = Tensor("int64", (1, 4))
    graph = Graph(
        "minilm.onnx",
        check_onnx(folder / "minilm.onnx").opsets["ai.onnx"],
        {"input_ids": ids, "attention_mask": ids},
        {"embedding": Tensor("float32", (1, 6))},
    )
    manifest = Manifest("text", "minilm", "bert", ("x",), "MIT", graphs={"text": graph})
    write_manifest(folder, replace(manifest, **change))
    return own(folder.parent, f"{folder.name}/{MANIFEST}")


def test_a_sentence_encoder_needs_the_table_that_was_made_for_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "phrases.npz", **sentence_arrays(n_in=1024))
    sentences = write_sentences(tmp_path / "sentences")
    table = own(tmp_path, "phrases.npz")
    bundle = load_bundle(write_bundle(tmp_path, phrases=table, sentences=sentences))
    assert bundle.sentences == tmp_path / "sentences"
    assert load_bundle(write_bundle(tmp_path)).sentences is None
    with pytest.raises(ModelBrokenError, match="expected word pieces, got a sentence encoder"):
        load_bundle(write_bundle(tmp_path, phrases=table))
    np.savez(tmp_path / "phrases.npz", **sentence_arrays(7, n_in=1024))
    with pytest.raises(ModelBrokenError, match="expected 6, got 7"):
        load_bundle(
            write_bundle(tmp_path, phrases=own(tmp_path, "phrases.npz"), sentences=sentences)
        )
    write_phrases(tmp_path / "phrases.npz", n_in=1024)
    with pytest.raises(ModelBrokenError, match="expected a sentence encoder, got word pieces"):
        load_bundle(
            write_bundle(tmp_path, phrases=own(tmp_path, "phrases.npz"), sentences=sentences)
        )
    other = write_sentences(tmp_path / "sentences", kind="speech")
    with pytest.raises(ModelBrokenError, match="export text"):
        load_bundle(write_bundle(tmp_path, sentences=other))


def test_a_projector_in_the_language_models_place_is_refused(tmp_path: Path) -> None:
    clip: dict[str, object] = {"general.architecture": "clip"}
    (tmp_path / "lm.gguf").write_bytes(gguf_file(clip, [("mm.weight", (8,), 0, 0)]))
    with pytest.raises(ModelBrokenError, match="language model"):
        load_bundle(write_bundle(tmp_path))


def test_an_adapter_that_fits_is_found(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    bundle = load_bundle(write_bundle(tmp_path, adapter=own(tmp_path, "lora.gguf")))
    assert bundle.adapter == tmp_path / "lora.gguf"


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        (lora_gguf(general_architecture="qwen2"), "expected llama, got qwen2"),
        (lora_gguf(adapter_type="control"), "expected lora, got control"),
        (gguf_file(), "expected lora, got None"),
        (lora_gguf(target="blk.1.attn_k.weight"), r"blk\.1\.attn_k\.weight.*of a matrix \(\)"),
        (lora_gguf(a=(16, 4)), r"\(32, r\)"),
        (lora_gguf(b=(4, 16)), r"\(r, 8\)"),
        (lora_gguf(b=(8, 8)), r"\(r, 8\)"),
        (lora_gguf(a=(32,), b=(8,)), "matrices"),
    ],
)
def test_an_adapter_of_another_model_is_refused(tmp_path: Path, adapter: bytes, words: str) -> None:
    write_bundle(tmp_path)
    (tmp_path / "lora.gguf").write_bytes(adapter)
    with pytest.raises(ModelBrokenError, match=words):
        load_bundle(write_bundle(tmp_path, adapter=own(tmp_path, "lora.gguf")))


def test_half_an_adapter_is_refused(tmp_path: Path) -> None:
    keys: dict[str, object] = {"adapter.type": "lora"}
    half = gguf_file(keys, [("blk.0.attn_k.weight.lora_a", (32, 4), 0, 0)])
    write_bundle(tmp_path)
    (tmp_path / "lora.gguf").write_bytes(half)
    with pytest.raises(ModelBrokenError, match=r"got \(32, 4\) and \(\)"):
        load_bundle(write_bundle(tmp_path, adapter=own(tmp_path, "lora.gguf")))


def test_the_scene_format_is_the_one_that_is_written() -> None:
    assert SCENE_FORMAT == prompts.SCENE_FORMAT


@pytest.mark.parametrize("role", ["projector", "adapter"])
@pytest.mark.parametrize("got", [None, SCENE_FORMAT + 1])
def test_what_was_trained_on_scenes_of_another_form_is_refused(
    tmp_path: Path, role: str, got: int | None
) -> None:
    write_bundle(tmp_path)
    files = {"projector": "projector.npz", "adapter": "lora.gguf"}
    trained = {"projector": None, "adapter": None, role: own(tmp_path, files[role])}
    with pytest.raises(ModelBrokenError, match=f"scene_format: expected {SCENE_FORMAT}, got {got}"):
        load_bundle(write_bundle(tmp_path, scene_format=got, **trained))


def test_untrained_models_need_no_scene_format(tmp_path: Path) -> None:
    bundle = load_bundle(write_bundle(tmp_path, projector=None, scene_format=None))
    assert bundle.scene_format is None


def test_settings_are_read_and_have_defaults(tmp_path: Path) -> None:
    plain = load_bundle(write_bundle(tmp_path))
    assert (plain.prior_weight, plain.thresholds, plain.golden) == (1.0, None, None)
    bundle = load_bundle(
        write_bundle(
            tmp_path,
            prior_weight=0,
            thresholds=own(tmp_path, "labels.csv"),
            golden=golden(tmp_path),
            about={"licence": "Apache-2.0"},
        )
    )
    assert (bundle.prior_weight, bundle.thresholds) == (0.0, tmp_path / "labels.csv")
    assert bundle.golden is not None
    assert bundle.golden.clip == tmp_path / "clip.wav"
    assert bundle.golden.choices == ("a dog", "rain")
    assert (bundle.golden.answer, bundle.golden.scores["rain"]) == ("a dog", 0.1)
    assert about_bundle(tmp_path) == {"licence": "Apache-2.0"}


@pytest.mark.parametrize(
    "change",
    [
        {"answer": "a cat"},
        {"scores": {"a dog": "high"}},
        {"scores": []},
        {"tolerance": None},
        {"question": 1},
        {"file": "../clip.wav"},
    ],
)
def test_a_wrong_golden_question_is_the_users_mistake(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    write_bundle(tmp_path)
    with pytest.raises(UsageError, match="golden"):
        load_bundle(write_bundle(tmp_path, golden=golden(tmp_path, **change)))


def test_a_changed_golden_clip_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    write_bundle(tmp_path, golden=golden(tmp_path))
    (tmp_path / "clip.wav").write_bytes(b"RIFX")
    with pytest.raises(ModelBrokenError, match="SHA-256"):
        load_bundle(tmp_path)


def test_default_is_another_name_of_the_bundle_that_ships() -> None:
    assert DEFAULT_BUNDLE in shipped_bundles()
    assert about_bundle("default") == about_bundle(DEFAULT_BUNDLE)


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"name": 7},
        {"context_tokens": 0},
        {"context_tokens": True},
        {"context_tokens": "4096"},
        {"prior_weight": 1.5},
        {"prior_weight": True},
        {"scene_format": True},
        {"about": "text"},
        {"golden": "clip.wav"},
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


def export(folder: Path, width: int = 1024, kind: str = "encoder") -> Path:
    """An exported encoder, as far as headers go."""
    folder.mkdir()
    (folder / "net.onnx").write_bytes(encoder_onnx(width))
    (folder / "labels.csv").write_text("index,mid,display_name\n0,,Dog\n")
    tensor = Tensor("float32", (1, width))
    graph = Graph("net.onnx", 17, {"audio": tensor}, {"embedding": tensor})
    found = check_onnx(folder / "net.onnx").opsets["ai.onnx"]
    graph = replace(graph, opset=found)
    manifest = Manifest(kind, "e", "made", (), "MIT", graphs={"audio": graph}, labels="labels.csv")
    write_manifest(folder, manifest)
    return folder


def test_an_exported_encoder_brings_its_own_labels(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    given = export(tmp_path / "given")
    bundle = load_bundle(folder, transcriber=False, encoder=given)
    assert (bundle.exported, bundle.encoder) == (given, given / "net.onnx")
    assert (bundle.labels, bundle.thresholds) == (given / "labels.csv", None)
    assert load_bundle(folder, transcriber=False).exported is None
    inside = write_bundle(tmp_path, encoder=own(tmp_path, "given/manifest.json"))
    assert load_bundle(inside, transcriber=False).exported == given
    (given / "labels.csv").write_text("index,mid,display_name\n0,,Cat\n")
    with pytest.raises(ModelBrokenError, match=r"labels\.csv: expected SHA-256"):
        load_bundle(inside, transcriber=False)


def test_an_exported_folder_of_another_kind_or_width_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path)
    for made, word in (
        (export(tmp_path / "speech", kind="speech"), "an encoder that gives"),
        (export(tmp_path / "narrow", width=8), "inputs"),
    ):
        with pytest.raises(ModelBrokenError, match=word):
            load_bundle(folder, transcriber=False, encoder=made)
    with pytest.raises(ModelMissingError):
        load_bundle(folder, transcriber=False, encoder=tmp_path / "none")


def test_an_audio_projector_must_be_of_the_models_width(tmp_path: Path) -> None:
    keys = {"general.architecture": "clip", "clip.audio.projection_dim": 32}
    for name, change, word in (
        ("deaf.gguf", {}, "without one"),
        ("text.gguf", {"general.architecture": "llama"}, "one of llama"),
    ):
        content = gguf_file(keys | change, [("x", (32,), 0, 0)], data_bytes=128)
        (tmp_path / name).write_bytes(content)
        folder = write_bundle(tmp_path, audio_projector=own(tmp_path, name))
        with pytest.raises(ModelBrokenError, match=word):
            load_bundle(folder, transcriber=False)
        assert load_bundle(folder, transcriber=False, language_model=False).name == "test"
    with pytest.raises(UsageError, match="audio_window_s"):
        load_bundle(write_bundle(tmp_path, audio_window_s=0), transcriber=False)


def write_litert(path: Path, width: int) -> Path:
    matrices = (np.ones((rows, 96 * 64), np.float32) for rows in (3, width))
    return write_tflite(path, *matrices)


def test_an_encoder_may_be_for_litert(tmp_path: Path) -> None:
    """In the bundle or in its encoder's place; as wide as its projector wants it."""
    path = write_litert(tmp_path / "e.tflite", 1024)
    bundle = load_bundle(write_bundle(tmp_path, encoder=own(tmp_path, path.name)))
    assert (bundle.encoder, bundle.exported) == (path, None)
    write_bundle(tmp_path)
    assert load_bundle(tmp_path, encoder=path).encoder == path
    with pytest.raises(ModelBrokenError, match="expected 12, got 1028"):
        load_bundle(tmp_path, encoder=write_litert(tmp_path / "narrow.tflite", 8))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelBrokenError, match="a whole LiteRT encoder"):
        load_bundle(tmp_path, encoder=path)
