from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from small_models import make_encoder

from edge_alm.models.onnx_file import check_onnx
from edge_alm.models.onnx_session import open_session
from quantize.linear import BLOCK, Form, find_layers, rewrite, to_int4_blocks

FORMS: tuple[Form, ...] = ("int8", "int4")


def run(model: onnx.ModelProto, folder: Path, **inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    check_onnx(path)
    found: list[NDArray[np.float32]] = open_session(path).run(None, inputs)
    return found


def product(op_type: str, *, trans: bool = False, bias: bool = True) -> onnx.ModelProto:
    """x [n, 40] times a constant, 70 outputs; 40 is no whole number of blocks."""
    rng = np.random.default_rng(0)
    shape = (70, 40) if trans else (40, 70)
    tensors = [numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), "w")]
    inputs = ["x", "w"]
    if bias:
        tensors.append(numpy_helper.from_array(rng.standard_normal(70).astype(np.float32), "b"))
        inputs.append("b")
    attributes: dict[str, Any] = {"transB": 1} if trans else {}
    node = helper.make_node(op_type, inputs, ["y"], **attributes)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("x", 40), ("y", 70))
    ]
    graph = helper.make_graph([node], "g", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("op_type", "trans", "bias"),
    [("MatMul", False, False), ("Gemm", False, True), ("Gemm", True, True), ("Gemm", True, False)],
)
def test_a_product_stays_nearly_the_same(
    form: Form, op_type: str, trans: bool, bias: bool, tmp_path: Path
) -> None:
    model = product(op_type, trans=trans, bias=bias)
    x = np.random.default_rng(1).standard_normal((5, 40)).astype(np.float32)
    (before,) = run(model, tmp_path, x=x)
    rewrite(model, {"y": form})
    assert [node.domain for node in model.graph.node] == ["com.microsoft"]
    (after,) = run(model, tmp_path, x=x)
    wrong = np.abs(after - before).max() / np.abs(before).max()
    assert wrong < {"int8": 0.02, "int4": 0.15}[form]
    assert wrong > 0.0


@pytest.mark.parametrize("form", FORMS)
def test_convolutions_of_one_by_one_are_products(form: Form, tmp_path: Path) -> None:
    model = make_encoder()
    patches = np.random.default_rng(1).standard_normal((2, 1, 96, 64)).astype(np.float32)
    before = run(model, tmp_path, audio=patches)
    layers = find_layers(model, smallest=2000)
    assert [layer.name for layer in layers] == ["wide_1", "wide_2", "wide_3"]
    rewrite(model, {layer.name: form for layer in layers})
    left = {node.op_type for node in model.graph.node if node.op_type == "Conv"}
    names = {tensor.name for tensor in model.graph.initializer}
    assert left == {"Conv"}, "the depthwise ones are no products"
    assert not names & {"wide_1_w", "wide_2_w", "wide_3_w"}
    after = run(model, tmp_path, audio=patches)
    for a, b in zip(before, after, strict=True):
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert cosine.min() > {"int8": 0.999, "int4": 0.97}[form]


def test_what_another_node_reads_stays(tmp_path: Path) -> None:
    model = product("MatMul", bias=False)
    model.graph.node.append(helper.make_node("ReduceSum", ["w"], ["sum"], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, []))
    x = np.ones((1, 40), np.float32)
    _, before = run(model, tmp_path, x=x)
    rewrite(model, {"y": "int8"})
    _, after = run(model, tmp_path, x=x)
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("change", ["stride", "pad", "group"])
def test_other_convolutions_are_left_alone(change: str) -> None:
    model = make_encoder()
    (node,) = (node for node in model.graph.node if node.name == "wide_2")
    for attribute in node.attribute:
        if attribute.name == {"stride": "strides", "pad": "pads", "group": "group"}[change]:
            if change == "group":
                attribute.i = 2
            else:
                attribute.ints[0] += 1
    assert "wide_2" not in [layer.name for layer in find_layers(model, 0)]


def test_an_unknown_layer_is_told() -> None:
    with pytest.raises(KeyError, match="deep_1"):
        rewrite(make_encoder(), {"deep_1": "int8"})


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 3 * BLOCK)),
        elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
    )
)
def test_no_value_moves_by_more_than_a_step_of_4_bits(matrix: NDArray[np.float32]) -> None:
    packed, scale = to_int4_blocks(matrix)
    steps = np.stack((packed & 15, packed >> 4), axis=-1).reshape(*packed.shape[:2], BLOCK)
    values = (steps.astype(np.float64) - 8.0) * scale[..., None]
    wrong = np.abs(values.reshape(len(matrix), -1)[:, : matrix.shape[1]] - matrix)
    # The end of the range that is not in use may be a whole step away.
    allowed = np.abs(scale).repeat(BLOCK, axis=1)[:, : matrix.shape[1]]
    assert np.all(wrong <= allowed * 1.0001)
