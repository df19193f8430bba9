from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_builders import (
    FLOAT,
    INT64,
    UINT8,
    onnx_external,
    onnx_model,
    onnx_node,
    onnx_tensor,
    onnx_value,
)

from edge_alm.errors import ModelBrokenError
from edge_alm.models.onnx_file import check_onnx
from edge_alm.models.yamnet import prepare

RNG = np.random.default_rng(7)
WEIGHT = RNG.normal(size=(521, 1024)).astype("<f4")
BIAS = RNG.normal(size=521).astype("<f4")


def quantised_graph(folder: Path) -> None:
    """The source's form in small: QDQ pairs, uint8 ends, batch 1, weights in another file."""
    (folder / "model.data").write_bytes(b"\0" * 64 + WEIGHT.tobytes())
    scale = ["scale", "zero"]
    pool = {"kernel_shape": [6, 1], "strides": [6, 1]}
    (folder / "model.onnx").write_bytes(
        onnx_model(
            onnx_node("QuantizeLinear", ["weight", *scale], "weight_q"),
            onnx_node("DequantizeLinear", ["weight_q", *scale], "weight_qdq"),
            onnx_node("DequantizeLinear", ["audio", *scale], "audio_f"),
            onnx_node("AveragePool", ["audio_f"], "pool", **pool),
            onnx_node("QuantizeLinear", ["pool", *scale], "pool_q"),
            onnx_node("DequantizeLinear", ["pool_q", *scale], "pool_qdq"),
            onnx_node("Reshape", ["pool_qdq", "shape"], "flat"),
            onnx_node("QuantizeLinear", ["flat", *scale], "flat_q"),
            onnx_node("DequantizeLinear", ["flat_q", *scale], "flat_qdq"),
            onnx_node("Gemm", ["flat_qdq", "weight_qdq", "bias"], "scores", transB=1),
            onnx_node("QuantizeLinear", ["scores", *scale], "class_scores"),
            onnx_external(
                "weight", [521, 1024], location="model.data", offset=64, length=WEIGHT.nbytes
            ),
            onnx_tensor("bias", [521], FLOAT, BIAS.tobytes()),
            onnx_tensor("scale", [], FLOAT, np.float32(0.1).tobytes()),
            onnx_tensor("zero", [], UINT8, b"\x80"),
            onnx_tensor("shape", [2], INT64, np.array([1, 1024], "<i8").tobytes()),
            onnx_value(11, "audio", UINT8, [1, 1, 96, 64]),
            onnx_value(12, "class_scores", UINT8, [1, 521]),
        )
    )


def test_the_float_network_comes_out_with_a_free_batch(tmp_path: Path) -> None:
    import onnxruntime

    quantised_graph(tmp_path)
    check_onnx(tmp_path / "model.onnx")
    target = tmp_path / "yamnet.onnx"
    prepare(tmp_path, target)
    info = check_onnx(target)
    assert info.inputs == {"audio": (None, 1, 96, 64)}
    assert info.outputs == {"class_scores": (None, 521), "embedding": (None, 1024)}
    assert info.weight_bytes == WEIGHT.nbytes + BIAS.nbytes + 16
    audio = RNG.normal(size=(3, 1, 96, 64)).astype(np.float32)
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    scores, embedding = session.run(["class_scores", "embedding"], {"audio": audio})
    expected = audio.reshape(3, 16, 6, 64).mean(axis=2).reshape(3, 1024)
    np.testing.assert_allclose(embedding, expected, atol=1e-6)
    np.testing.assert_allclose(scores, expected @ WEIGHT.T + BIAS, atol=1e-3)


def test_it_comes_out_the_same_every_time(tmp_path: Path) -> None:
    quantised_graph(tmp_path)
    prepare(tmp_path, tmp_path / "a")
    prepare(tmp_path, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("graph", [b"", b"\xff", onnx_model(onnx_node("Relu", ["x"], "y"))])
def test_another_graph_is_refused(tmp_path: Path, graph: bytes) -> None:
    (tmp_path / "model.data").write_bytes(b"")
    (tmp_path / "model.onnx").write_bytes(graph)
    with pytest.raises(ModelBrokenError):
        prepare(tmp_path, tmp_path / "yamnet.onnx")
    assert not (tmp_path / "yamnet.onnx").exists()


def test_weights_that_are_not_all_there_are_refused(tmp_path: Path) -> None:
    quantised_graph(tmp_path)
    data = tmp_path / "model.data"
    data.write_bytes(data.read_bytes()[:-4])
    with pytest.raises(ModelBrokenError, match="weight has"):
        prepare(tmp_path, tmp_path / "yamnet.onnx")
