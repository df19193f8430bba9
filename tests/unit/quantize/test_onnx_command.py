"""``python -m quantize onnx`` on an encoder of YAMNet's form, with the recordings of tests/data."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from small_models import make_encoder, write_encoder

from edge_alm.models.manifest import (
    Graph,
    Manifest,
    Tensor,
    load_manifest,
    read_golden,
    write_manifest,
)
from edge_alm.models.onnx_file import check_onnx
from edge_alm.models.onnx_session import open_session
from quantize.__main__ import main
from quantize.recordings import choose_patches

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "tests" / "data"
EVALUATION = ("--esc10", "none", "--scenes", 0, "--recordings", DATA / "doorbell.flac")
REPORT = ("json", "md", "svg")


def quantise(model: Path, out: Path, to: str, *more: object) -> int:
    words: list[object] = [
        "onnx",
        model,
        "--to",
        to,
        "--out",
        out,
        "--esc10",
        "none",
        "--scenes",
        "0",
    ]
    words += ["--recordings", DATA / "doorbell.flac", *more]
    return main([str(word) for word in words])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few calls: these tests are about what happens, not about how long it takes."""
    from quantize.encoder_bench import EncoderBench

    measure = EncoderBench.measure
    monkeypatch.setattr(EncoderBench, "measure", lambda self, paths: measure(self, paths, 10))


@pytest.fixture
def any_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network this small gains no time; it is smaller all the same."""
    monkeypatch.setattr("quantize.verdict.SLOWER", 100.0)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder with two recordings to calibrate on."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in ("glass", "crow"):
        (folder / f"{name}.flac").symlink_to(DATA / f"{name}.flac")
    return folder


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mistake(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert err.startswith("quantize: "), err
    assert err.count("\n") == 1, err
    return err


@pytest.mark.usefixtures("any_speed")
@pytest.mark.parametrize("to", ["int8-weights", "int8-dynamic", "int8-static", "int4"])
def test_every_form_is_made_measured_and_kept(to: str, tmp_path: Path, recordings: Path) -> None:
    model = write_encoder(tmp_path / "float.onnx")
    out = tmp_path / "out" / "small.onnx"
    assert quantise(model, out, to, "--calibrate", recordings) == 0
    before, after = check_onnx(model), check_onnx(out)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    assert after.weight_bytes < 0.8 * before.weight_bytes
    assert left(out.parent) == ["small.onnx", *(f"small.onnx.report.{s}" for s in REPORT)]
    report = json.loads((out.parent / "small.onnx.report.json").read_text())
    was, now = report["models"]
    assert (was["cosine"], now["verdict"]) == (pytest.approx(1.0), "keep")
    assert now["bytes"] == out.stat().st_size < was["bytes"]
    assert now["cosine_low"] > 0.95
    assert now["median_ms"] <= now["p95_ms"]
    assert 10e6 < now["peak_bytes"] < 400e6


@pytest.mark.usefixtures("any_speed")
def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = write_encoder(tmp_path / "float.onnx")
    for name in "ab":
        assert quantise(model, tmp_path / f"{name}.onnx", "int8-dynamic") == 0
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.usefixtures("any_speed")
def test_a_layer_that_one_scale_does_not_suit_stays_float(tmp_path: Path) -> None:
    model = write_encoder(tmp_path / "float.onnx", wild=3000.0)
    out = tmp_path / "small.onnx"
    assert quantise(model, out, "int8-dynamic") == 0
    report = json.loads((tmp_path / "small.onnx.report.json").read_text())
    assert report["models"][1]["left_in_float"] == ["wide_3"]
    nodes = {node.output[0]: node.op_type for node in onnx.load(out).graph.node}
    assert (nodes["wide_3"], nodes["wide_1_sums"]) == ("Conv", "DynamicQuantizeMatMul")


@pytest.mark.usefixtures("any_speed")
def test_a_broken_calibration_is_refused(
    tmp_path: Path,
    recordings: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As by a front end that gives a thousandth of what the runtime's gives."""
    patches = np.float32(1e-3) * choose_patches(recordings, 20)
    choices = {recordings: patches}
    monkeypatch.setattr(
        "quantize.onnx_files.choose_patches",
        lambda folder, most, cut: choices.get(folder, choose_patches(DATA, most)),
    )
    model = write_encoder(tmp_path / "float.onnx")
    out = tmp_path / "small.onnx"
    out.write_bytes(b"what was there")
    assert quantise(model, out, "int8-static", "--calibrate", recordings) == 3
    assert "cosine" in mistake(capsys)
    assert out.read_bytes() == b"what was there"
    report = json.loads((tmp_path / "small.onnx.report.json").read_text())
    assert report["models"][1]["verdict"] == "refuse"


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda folder: None, "none"),
        (lambda folder: soundfile.write(folder / "a.wav", np.zeros(16_000), 16_000), "dBFS"),
        (lambda folder: (folder / "a.wav").write_bytes(b"no audio"), "a.wav"),
    ],
    ids=["empty", "silent", "no audio"],
)
def test_recordings_that_calibrate_nothing(
    prepare: Callable[[Path], object],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "calibration"
    folder.mkdir()
    prepare(folder)
    model = write_encoder(tmp_path / "float.onnx")
    status = quantise(model, tmp_path / "x.onnx", "int8-static", "--calibrate", folder)
    assert status == 2
    assert words in mistake(capsys)
    assert left(tmp_path) == ["calibration", "float.onnx"]


def test_a_kind_that_needs_a_calibration_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_encoder(tmp_path / "float.onnx")
    assert quantise(model, tmp_path / "x.onnx", "int8-static") == 2
    assert "--calibrate DIR" in mistake(capsys)
    assert left(tmp_path) == ["float.onnx"]


@pytest.mark.usefixtures("any_speed")
def test_a_model_is_quantised_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_encoder(tmp_path / "float.onnx")
    assert quantise(model, tmp_path / "small.onnx", "int8-dynamic") == 0
    capsys.readouterr()
    assert quantise(tmp_path / "small.onnx", tmp_path / "x.onnx", "int4") == 2
    assert "a float model" in mistake(capsys)


def test_models_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quantise(tmp_path / "absent.onnx", tmp_path / "x.onnx", "int4") == 2
    assert "no such file" in mistake(capsys)
    whole = make_encoder().SerializeToString()
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    assert quantise(tmp_path / "half.onnx", tmp_path / "x.onnx", "int4") == 2
    assert "a whole ONNX model" in mistake(capsys)


def test_a_place_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_encoder(tmp_path / "float.onnx")
    assert quantise(model, Path("/proc/nobody/x.onnx"), "int8-weights") == 2
    assert "can be written" in mistake(capsys)


def write_folder(folder: Path, *, beside: bool = False) -> Path:
    """As ``python -m export`` leaves an encoder; its weights perhaps ``beside`` the graph."""
    folder.mkdir()
    model = write_encoder(folder / "encoder.onnx")
    if beside:
        onnx.save(
            onnx.load(model),
            model,
            save_as_external_data=True,
            location="encoder.data",
            size_threshold=100,
        )
    patch = np.random.default_rng(0).standard_normal((1, 1, 96, 64)).astype(np.float32)
    scores, embedding = open_session(model).run(["class_scores", "embedding"], {"audio": patch})
    np.savez(folder / "golden.npz", audio=patch, class_scores=scores, embedding=embedding)
    (folder / "labels.csv").write_text(
        "index,mid,display_name\n" + "".join(f"{i},/m/{i},Sound {i}\n" for i in range(12))
    )
    graph = Graph(
        "encoder.onnx",
        17,
        {"audio": Tensor("float32", ("n", 1, 96, 64))},
        {
            "class_scores": Tensor("float32", ("n", scores.shape[1])),
            "embedding": Tensor("float32", ("n", embedding.shape[1])),
        },
        "golden.npz",
    )
    manifest = Manifest("encoder", "small", "yamnet", ("me/small",), "mit", graphs={"audio": graph})
    write_manifest(folder, manifest)
    return folder


@pytest.mark.usefixtures("any_speed")
@pytest.mark.parametrize("beside", [False, True])
def test_a_manifest_is_carried_on(beside: bool, tmp_path: Path) -> None:
    folder, out = write_folder(tmp_path / "float", beside=beside), tmp_path / "int8"
    assert quantise(folder, out, "int8-dynamic") == 0
    before, after = load_manifest(folder), load_manifest(out)
    assert (after.name, after.ids, after.licence) == (before.name, before.ids, before.licence)
    assert after.files["encoder.onnx"].sha256 != before.files["encoder.onnx"].sha256
    assert after.files["labels.csv"] == before.files["labels.csv"]
    step = after.produced_by[-1]
    assert "quantize onnx" in step["command"]
    assert step["packages"].keys() >= {"onnx", "onnxruntime"}
    golden_in, golden_out = read_golden(out, after.graphs["audio"])
    found = open_session(out / "encoder.onnx").run([*golden_out], golden_in)
    for expected, got in zip(golden_out.values(), found, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    assert left(tmp_path) == ["float", "int8", *(f"int8.report.{s}" for s in REPORT)]
    assert left(out) == ["encoder.onnx", "golden.npz", "labels.csv", "manifest.json"]
    was, now = json.loads((tmp_path / "int8.report.json").read_text())["models"]
    assert now["bytes"] < 0.6 * was["bytes"]


def test_a_refused_folder_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("quantize.verdict.SLOWER", 0.0)
    monkeypatch.setattr("quantize.verdict.SMALLER", 0.0)
    folder = write_folder(tmp_path / "float")
    assert quantise(folder, tmp_path / "int8", "int8-dynamic") == 3
    assert "neither smaller nor better" in mistake(capsys)
    assert left(tmp_path) == ["float", *(f"int8.report.{s}" for s in REPORT)]


def start(model: Path, out: Path, memory_bytes: int = 0) -> subprocess.Popen[str]:
    def limit() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if memory_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    words = ["onnx", model, "--to", "int8-dynamic", "--out", out, *EVALUATION]
    return subprocess.Popen(
        [sys.executable, "-m", "quantize", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        preexec_fn=limit,
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_in_mid_write_leaves_nothing(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    model, folder = write_encoder(tmp_path / "float.onnx"), tmp_path / "out"
    process = start(model, folder / "x.onnx")
    end_s = time.monotonic() + 120
    while not (folder.is_dir() and any(folder.iterdir())) and time.monotonic() < end_s:
        time.sleep(0.01)
    assert any(folder.iterdir()), "the scratch file"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (status, ""), (out, err)
    assert left(folder) == []


def test_too_little_memory_is_told(tmp_path: Path) -> None:
    model, folder = tmp_path / "large.onnx", tmp_path / "out"
    large = make_encoder()
    for tensor in large.graph.initializer:
        if tensor.name == "classes_w":  # 200 MB
            tensor.dims[0] = 400_000
            tensor.raw_data = bytes(400_000 * 128 * 4)
    del large.graph.output[0].type.tensor_type.shape.dim[1]
    large.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "classes"
    model.write_bytes(large.SerializeToString())
    process = start(model, folder / "x.onnx", memory_bytes=800 << 20)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert err.count("\n") == 1
    assert "memory" in err
    assert not folder.exists() or left(folder) == []
