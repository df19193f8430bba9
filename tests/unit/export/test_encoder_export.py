"""Every architecture, exported for real in a tiny size and heard through the runtime."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from audio_models import CLASSES, MAKERS, save_ast, save_clap, save_waveform

from edge_alm.audio.source import open_source
from edge_alm.errors import EdgeAlmError, ModelBrokenError, RefusedError, UsageError
from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.encoder import HOP_SAMPLES, HopEncoder
from edge_alm.hearing.exported import ExportedEncoder
from edge_alm.hearing.logmel import LogMel
from edge_alm.hearing.tracker import Tracker, read_thresholds
from edge_alm.models.manifest import MANIFEST, load_manifest, read_golden
from edge_alm.models.onnx_session import open_session
from edge_alm.types import Frame, Samples
from export.__main__ import main
from export.encoder import EncoderOptions, export_encoder
from export.towers import SUPPORTED

DATA = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="module")
def ast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_ast(tmp_path_factory.mktemp("ast") / "tiny-ast")


@pytest.fixture(scope="module")
def made(ast: Path) -> Path:
    """An exported AST."""
    out = ast.parent / "made"
    export_encoder(str(ast), out, EncoderOptions())
    return out


def read(name: str) -> Samples:
    packets = open_source(str(DATA / name)).packets()
    return np.concatenate([p.samples for p in packets if isinstance(p, Frame)])


def test_every_supported_architecture_is_tried_here() -> None:
    assert set(SUPPORTED) <= MAKERS.keys()


@pytest.mark.parametrize("name", MAKERS)
def test_it_is_what_transformers_computes_and_runs(name: str, tmp_path: Path) -> None:
    source = MAKERS[name](tmp_path / "model")
    made = export_encoder(str(source), tmp_path / "made", EncoderOptions(window_s=1.0))
    parity = made.manifest.parity
    assert parity["max_difference"] <= 1e-3
    # Numbers near zero would agree whatever they are.
    for graph in made.manifest.graphs.values():
        _, outputs = read_golden(tmp_path / "made", graph)
        assert all(np.abs(output).max() > 0.05 for output in outputs.values())
        assert all(tensor.shape[0] == "batch" for tensor in graph.inputs.values())
        assert all(isinstance(tensor.shape[1], str) for tensor in graph.inputs.values())
    assert load_manifest(tmp_path / "made") == made.manifest
    encoder = ExportedEncoder(tmp_path / "made")
    assert encoder.window_samples == 16_000
    scores, embedding = encoder.hear(read("glass.flac")[:16_000])
    assert scores.shape == (len(encoder.labels),)
    assert embedding.shape == (encoder.embedding_size,)
    assert np.isfinite(embedding).all()


def test_golden_arrays_come_out_of_the_network(made: Path) -> None:
    graph = load_manifest(made).graphs["audio"]
    inputs, outputs = read_golden(made, graph)
    got = open_session(made / graph.file).run(list(outputs), inputs)
    for expected, value in zip(outputs.values(), got, strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-4)


def test_the_published_length_can_be_kept(ast: Path, tmp_path: Path) -> None:
    options = EncoderOptions(as_published=True, activation="sigmoid", licence="MIT")
    made = export_encoder(str(ast), tmp_path / "made", options).manifest
    assert made.front_end is not None
    assert (made.front_end["fill_frames"], made.activation, made.licence) == (
        1024,
        "sigmoid",
        "MIT",
    )
    heard = ExportedEncoder(tmp_path / "made")
    scores, _ = heard.hear(np.zeros(heard.window_samples, np.float32))
    assert scores.shape == (3,)


def test_weights_may_lie_beside_the_network(
    ast: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a model over 2 GB have to."""
    monkeypatch.setenv("FORCE_ONNX_EXTERNAL_DATA", "1")
    made = export_encoder(str(ast), tmp_path / "made", EncoderOptions()).manifest
    assert made.files["encoder.onnx"].bytes < made.files["encoder.onnx_data"].bytes
    assert ExportedEncoder(tmp_path / "made").labels == tuple(CLASSES.values())
    data = tmp_path / "made" / "encoder.onnx_data"
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(ModelBrokenError, match=r"encoder\.onnx_data"):
        load_manifest(tmp_path / "made")


def test_stopped_by_a_signal_it_leaves_nothing(ast: Path, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-m", "export", "encoder", "--model", str(ast), "--out", "made"]
    environment = {"PYTHONPATH": str(root), "PATH": "", "HOME": str(tmp_path / "home")}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    until_s = time.monotonic() + 120.0
    while not list(tmp_path.glob(".made-*")) and time.monotonic() < until_s:
        time.sleep(0.01)
    process.terminate()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143, told
    assert told == "export: stopped; nothing was written\n"
    assert [path for path in tmp_path.iterdir() if path.name != "home"] == []


def test_texts_become_classes_of_clap(tmp_path: Path) -> None:
    source = save_clap(tmp_path / "clap")
    labels = tmp_path / "labels.txt"
    labels.write_text("dog\nrain\n\ndog\n")
    export_encoder(str(source), tmp_path / "made", EncoderOptions(labels=labels))
    encoder = ExportedEncoder(tmp_path / "made")
    assert encoder.labels == ("dog", "rain")
    scores, _ = encoder.hear(read("glass.flac")[: encoder.window_samples])
    assert scores.sum() == pytest.approx(1.0, abs=1e-5)


def test_scores_feed_the_tracker(tmp_path: Path) -> None:
    """A network that always hears a dog, and one that never does."""
    from transformers import ASTForAudioClassification

    for bias, expected in ((9.0, {"Dog"}), (-9.0, {"Speech"})):
        source = save_ast(tmp_path / f"ast{bias}")
        model = ASTForAudioClassification.from_pretrained(source)
        model.classifier.dense.weight.data.zero_()
        model.classifier.dense.bias.data[:] = model.classifier.dense.bias.new_tensor(
            [bias, -20.0, 0.0]
        )
        model.save_pretrained(source)
        out = tmp_path / f"made{bias}"
        export_encoder(str(source), out, EncoderOptions())
        encoder = ExportedEncoder(out)
        hops = HopEncoder(encoder, LogMel())
        tracker = Tracker(encoder.labels, read_thresholds(out / "thresholds.csv"), ontology())
        samples = read("glass.flac")
        heard = set()
        for hop in samples[: len(samples) // HOP_SAMPLES * HOP_SAMPLES].reshape(-1, HOP_SAMPLES):
            found = hops.push(hop, wanted=True)
            assert found is not None
            heard |= {sound.label for sound in tracker.push(found)}
        assert heard == expected
    assert encoder.labels == tuple(CLASSES.values())


def test_what_is_no_encoder_is_refused_in_a_line(ast: Path, tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "config.json").write_text("not json")
    for folder, word in (("bert", "one of audio-spectrogram-transformer, clap"), ("text", "model")):
        with pytest.raises(UsageError, match=word) as caught:
            export_encoder(str(tmp_path / folder), tmp_path / "out", EncoderOptions())
        assert "\n" not in str(caught.value)
    for wrong in (
        EncoderOptions(window_s=0.0),
        EncoderOptions(threshold=1.0),
        EncoderOptions(labels=tmp_path / "labels.txt"),
        EncoderOptions(prompt="no place"),
        EncoderOptions(opset=99),
        EncoderOptions(audio=(tmp_path / "none.wav",)),
    ):
        with pytest.raises(EdgeAlmError):
            export_encoder(str(ast), tmp_path / "out", wrong)
    assert not (tmp_path / "out").exists()


def test_the_feature_extractor_of_another_model_is_refused(ast: Path, tmp_path: Path) -> None:
    source = save_waveform(tmp_path / "hubert", "Hubert")
    name = "preprocessor_config.json"
    shutil.copytree(ast, tmp_path / "mixed")
    shutil.copy(source / name, tmp_path / "mixed" / name)
    with pytest.raises(UsageError, match="of one model, got Wav2Vec2FeatureExtractor"):
        export_encoder(str(tmp_path / "mixed"), tmp_path / "out", EncoderOptions())
    (tmp_path / "mixed" / name).unlink()
    with pytest.raises(UsageError, match=name):
        export_encoder(str(tmp_path / "mixed"), tmp_path / "out", EncoderOptions())


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    source = save_waveform(tmp_path / "model", "Hubert")
    weights = load_file(source / "model.safetensors")
    weights.pop("encoder.layers.1.attention.k_proj.weight")
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelBrokenError, match="1 missing"):
        export_encoder(str(source), tmp_path / "out", EncoderOptions())
    (source / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(UsageError, match="weights of HubertModel"):
        export_encoder(str(source), tmp_path / "out", EncoderOptions())
    assert not (tmp_path / "out").exists()


def test_a_result_that_differs_leaves_nothing(
    ast: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RefusedError, match="parity of"):
        export_encoder(str(ast), tmp_path / "out", EncoderOptions(limit=0.0))
    assert list(tmp_path.iterdir()) == []
    assert main(["encoder", "--model", str(tmp_path / "no"), "--out", str(tmp_path / "out")]) == 2
    assert "export: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), 2),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 2),
        (OSError(28, "No space left on device"), 2),
        (ZeroDivisionError("two\nlines"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_stops_it_midway_leaves_nothing(
    ast: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("export.encoder.write_manifest", fail)
    assert main(["encoder", "--model", str(ast), "--out", str(tmp_path / "out")]) == status
    told = capsys.readouterr().err
    assert told.startswith("export: ")
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_no_place_of_this_machine(ast: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "export", "encoder", "--model", str(ast), "--out", "made"]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "parity: " in done.stdout
    text = (tmp_path / "made" / MANIFEST).read_text()
    assert str(tmp_path) not in text
    assert str(ast.parent) not in text
    assert json.loads(text)["ids"] == ["tiny-ast"]
