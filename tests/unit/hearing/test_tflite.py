"""LiteRT itself, beside ONNX Runtime with the same weights, on real recordings."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tflite_files import RANGE, write_tflite

from edge_alm.audio.source import open_source
from edge_alm.errors import MissingExtraError, ModelBrokenError
from edge_alm.hearing.encoder import Yamnet, cut_patches
from edge_alm.hearing.exported import open_encoder
from edge_alm.hearing.tflite import TfliteEncoder
from edge_alm.types import Frame

DATA = Path(__file__).resolve().parents[2] / "data"
CLASSES, WIDTH = 7, 12


@pytest.fixture(scope="module")
def litert(require: object) -> None:
    assert callable(require)
    require("ai_edge_litert", "the extra tflite")


@pytest.fixture(scope="module")
def patches() -> NDArray[np.float32]:
    packets = open_source(str(DATA / "glass.flac")).packets()
    return cut_patches(np.concatenate([p.samples for p in packets if isinstance(p, Frame)]))


def write_labels(path: Path, count: int = CLASSES) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("index", "mid", "display_name"))
        writer.writerows((i, "", f"class {i}") for i in range(count))
    return path


def matrices() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    scores, embedding = (
        (0.01 * rng.standard_normal((rows, 96 * 64))).astype(np.float32)
        for rows in (CLASSES, WIDTH)
    )
    return scores, embedding


def write_onnx(path: Path) -> Path:
    """The same network."""
    from onnx import TensorProto, helper, numpy_helper, save

    names = ("class_scores", "embedding")
    nodes = [helper.make_node("Flatten", ["audio"], ["flat"])]
    nodes += [helper.make_node("Gemm", ["flat", f"{n}_w"], [n], transB=1) for n in names]
    pairs = [*zip(names, matrices(), strict=True)]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", len(array)])
        for name, array in pairs
    ]
    audio = helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["n", 1, 96, 64])
    weights = [numpy_helper.from_array(array, f"{name}_w") for name, array in pairs]
    graph = helper.make_graph(nodes, "g", [audio], outputs, weights)
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.mark.usefixtures("litert")
def test_it_agrees_with_onnx_on_real_audio(
    tmp_path: Path, patches: NDArray[np.float32], capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    labels = write_labels(tmp_path / "labels.csv")
    tflite = open_encoder(write_tflite(tmp_path / "e.tflite", *matrices()), labels)
    onnx = open_encoder(write_onnx(tmp_path / "e.onnx"), labels)
    assert isinstance(tflite, TfliteEncoder)
    assert isinstance(onnx, Yamnet)
    assert (tflite.labels, tflite.embedding_size) == (onnx.labels, onnx.embedding_size)
    for patch in patches:
        for got, expected in zip(tflite.encode(patch), onnx.encode(patch), strict=True):
            assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
            np.testing.assert_allclose(got, expected, atol=1e-4)
    assert capfd.readouterr().err == ""  # LiteRT tells of its delegate, once a process


@pytest.mark.usefixtures("litert")
def test_8_bits_at_both_ends_are_no_other_network(
    tmp_path: Path, patches: NDArray[np.float32]
) -> None:
    labels = write_labels(tmp_path / "labels.csv")
    int8 = TfliteEncoder(write_tflite(tmp_path / "q.tflite", *matrices(), int8=True), labels)
    floats = TfliteEncoder(write_tflite(tmp_path / "f.tflite", *matrices()), labels)
    for patch in patches:
        for got, expected in zip(int8.run(patch), floats.run(patch), strict=True):
            inside = np.abs(expected) < RANGE[1]
            np.testing.assert_allclose(got[inside], expected[inside], atol=2 * RANGE[1] / 127)


@pytest.mark.parametrize(("classes", "shape"), [(CLASSES + 1, None), (CLASSES, (1, 15_600))])
def test_another_network_is_refused(
    tmp_path: Path, classes: int, shape: tuple[int, ...] | None
) -> None:
    change = {"shape": shape} if shape else {}
    path = write_tflite(tmp_path / "e.tflite", *matrices(), **change)  # type: ignore[arg-type]
    with pytest.raises(ModelBrokenError, match="scores and an embedding"):
        TfliteEncoder(path, write_labels(tmp_path / "labels.csv", classes))


@pytest.mark.usefixtures("litert")
def test_what_litert_refuses_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_tflite(tmp_path / "e.tflite", *matrices(), first_weights=3)
    with pytest.raises(ModelBrokenError, match="that LiteRT can open") as refusal:
        TfliteEncoder(path, write_labels(tmp_path / "labels.csv"))
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr().err == ""


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, f"{name}.interpreter", None)
    path = write_tflite(tmp_path / "e.tflite", *matrices())
    with pytest.raises(MissingExtraError, match=r"edge-alm\[tflite\]"):
        TfliteEncoder(path, write_labels(tmp_path / "labels.csv"))
