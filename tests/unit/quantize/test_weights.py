from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_alm.models.onnx_file import check_onnx
from edge_alm.models.onnx_session import open_session
from quantize.agreement import Agreement, compare, run
from quantize.encoders import write_model
from quantize.weights import SMALLEST, store_in_8_bits, to_int8

CHANNELS, WIDTH = 64, 256


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A pointwise convolution with large weights and a small bias, then the two outputs."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((CHANNELS, WIDTH, 1, 1)).astype(np.float32)
    weights *= np.geomspace(1e-3, 1e3, CHANNELS, dtype=np.float32)[:, None, None, None]
    bias = rng.standard_normal(CHANNELS).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["audio", "w", "b"], ["c"]),
            helper.make_node("Flatten", ["c"], ["embedding"]),
            helper.make_node("Identity", ["embedding"], ["class_scores"]),
        ],
        "g",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["n", WIDTH, 1, 1])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", CHANNELS])
            for name in ("class_scores", "embedding")
        ],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    path = tmp_path / "float.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def quantise(source: Path, target: Path) -> None:
    model = onnx.load(source)
    store_in_8_bits(model)
    write_model(model, target)


def agreement(before: Path, after: Path) -> Agreement:
    patches = np.random.default_rng(1).standard_normal((20, 1, WIDTH, 1, 1)).astype(np.float32)
    inputs = [{"audio": patch} for patch in patches]
    return compare(run(open_session(before), inputs), run(open_session(after), inputs))


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=1, max_dims=4, max_side=6),
        elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
    )
)
def test_no_value_moves_by_more_than_half_a_step(values: NDArray[np.float32]) -> None:
    steps, scale = to_int8(values)
    assert steps.dtype == np.int8
    assert (steps.shape, len(scale)) == (values.shape, len(values))
    wrong = np.abs(steps.astype(np.float64) * scale - values)
    assert np.all(wrong <= scale * 0.5001)


def test_a_quarter_of_the_bytes_gives_the_same_outputs(network: Path, tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"
    quantise(network, target)
    before, after = check_onnx(network), check_onnx(target)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    assert CHANNELS * WIDTH >= SMALLEST
    assert target.stat().st_size < 0.3 * network.stat().st_size
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(target).graph.initializer}
    assert stored["w_int8"] == TensorProto.INT8
    assert stored["b"] == TensorProto.FLOAT
    found = agreement(network, target)
    assert found.n == 20
    assert found.cosine_low > 0.9995
    assert found.top1 == 1.0


def test_other_weights_are_seen_by_the_comparison(network: Path, tmp_path: Path) -> None:
    model = onnx.load(network)
    weights = model.graph.initializer[0]
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights)[::-1].copy(), "w"))
    onnx.save(model, tmp_path / "other.onnx")
    found = agreement(network, tmp_path / "other.onnx")
    assert found.cosine < 0.9
    assert found.top1 is not None
    assert found.top1 < 0.5


def test_the_same_bytes_every_time(network: Path, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        quantise(network, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
