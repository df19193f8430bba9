"""Linear layers of an ONNX graph in 8 or 4 bits, with no calibration.

A linear layer is a MatMul or Gemm with a constant right side, or a convolution of one by one; in
most encoders they are nearly all of the work. In each form the weights have their scales beside
them, and the activations are put into 8 bits at run time, so that a quiet recording gets small
steps and a loud one large ones:

- ``int8``: DynamicQuantizeMatMul, one scale an output channel and one a call for the activations.
- ``int4``: MatMulNBits, one scale for every :data:`BLOCK` weights and for as many activations.

Both are onnxruntime's own operators (domain com.microsoft). A convolution gets a Transpose before
and after it, most of which onnxruntime joins with the reordering that its float convolutions need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantize.weights import to_int8

if TYPE_CHECKING:
    import onnx

Form: TypeAlias = Literal["int8", "int4"]
DOMAIN = "com.microsoft"
BLOCK = 32
"""Weights that share a scale in 4 bits; onnxruntime's and llama.cpp's usual number."""
INT8_ACTIVATIONS = 4
"""MatMulNBits' ``accuracy_level``. Level 0 (float activations) with 8-bit weights took 7.6 ms a
patch of YAMNet where this took 1.5 and float 1.9."""
SMALLEST = 4_000
"""Layers with fewer weights stay float: there the Transposes cost more than the bits save. Of
YAMNet the first pointwise convolution, 32 by 64, which gained nothing."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer of a graph."""

    name: str
    """Of its output, which is unique where a node's name may be empty."""
    weight: str
    """The initialiser's name."""
    kind: str
    """Conv, Gemm or MatMul."""
    values: int
    """Number of weights."""


def find_layers(model: onnx.ModelProto, smallest: int | None = None) -> list[Layer]:
    """The linear layers with at least ``smallest`` (:data:`SMALLEST`) weights, in their order."""
    least = SMALLEST if smallest is None else smallest
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    return [
        Layer(node.output[0], node.input[1], node.op_type, values)
        for node in model.graph.node
        if len(node.input) > 1
        and (tensor := weights.get(node.input[1])) is not None
        and _is_linear(node, list(tensor.dims), weights)
        and tensor.data_type == 1
        and (values := int(np.prod(tensor.dims))) >= least
    ]


def rewrite(model: onnx.ModelProto, forms: Mapping[str, Form]) -> None:
    """Change ``model``: the layers named get the form named.

    Args:
        model: with its weights inside.
        forms: :attr:`Layer.name` to form.

    Raises:
        KeyError: no linear layer has such a name.
    """
    from onnx import helper

    layers = {layer.name: layer for layer in find_layers(model, 0)}
    if unknown := forms.keys() - layers.keys():
        raise KeyError(f"no linear layers {sorted(unknown)}")
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    added: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        form = forms.get(node.output[0]) if node.output else None
        if form is None:
            nodes.append(node)
            continue
        for tensor in _tensors(node, weights[node.input[1]], form):
            added[tensor.name] = tensor
        nodes.extend(_nodes(node, weights[node.input[1]], form))
    used = {name for node in nodes for name in node.input}
    used |= {output.name for output in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend([*kept, *added.values()])
    graph.node.extend(nodes)
    if forms and all(opset.domain != DOMAIN for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def _is_linear(
    node: onnx.NodeProto, dims: list[int], weights: Mapping[str, onnx.TensorProto]
) -> bool:
    attributes = _attributes(node)
    if node.op_type == "MatMul":
        return len(dims) == 2
    bias = weights.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if len(node.input) > 2 and node.input[2] and (bias is None or len(bias.dims) != 1):
        return False
    if node.op_type == "Gemm":
        plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
        outputs = dims[0] if attributes.get("transB") else dims[-1]
        fits = bias is None or list(bias.dims) == [outputs]
        return plain and fits and len(dims) == 2 and not attributes.get("transA")
    return (
        node.op_type == "Conv"
        and dims[2:] == [1, 1]
        and attributes.get("group", 1) == 1
        and not any(attributes.get("pads", ()))
        and all(step == 1 for step in attributes.get("strides", ()))
        and attributes.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    )


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _matrix(node: onnx.NodeProto, tensor: onnx.TensorProto) -> NDArray[np.float32]:
    """The weights [outputs, inputs]."""
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    if node.op_type == "Conv":
        return np.ascontiguousarray(values[:, :, 0, 0])
    transposed = node.op_type == "Gemm" and _attributes(node).get("transB")
    return np.ascontiguousarray(values if transposed else values.T)


def _tensors(
    node: onnx.NodeProto, tensor: onnx.TensorProto, form: Form
) -> Iterable[onnx.TensorProto]:
    from onnx import numpy_helper

    matrix = _matrix(node, tensor)
    steps: NDArray[Any]
    if form == "int8":
        rows, scale = to_int8(matrix)
        steps, scale = np.ascontiguousarray(rows.T), scale[:, 0]
    else:
        steps, scale = to_int4_blocks(matrix)
    yield numpy_helper.from_array(steps, f"{tensor.name}_{form}")
    yield numpy_helper.from_array(scale, f"{tensor.name}_{form}_scale")


def to_int4_blocks(
    matrix: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """``matrix`` [outputs, inputs] as MatMulNBits wants it.

    Returns:
        Steps plus 8, two to a byte, the earlier one in the lower half: uint8
        [outputs, blocks, BLOCK / 2]; scales [outputs, blocks].
    """
    outputs, inputs = matrix.shape
    padded = np.pad(matrix, ((0, 0), (0, -inputs % BLOCK)))
    blocks = padded.reshape(outputs, -1, BLOCK)
    # The value farthest from zero gets step -8, so that all 16 steps are in use.
    farthest = np.take_along_axis(blocks, np.abs(blocks).argmax(2)[..., None], 2)
    scale = farthest / np.float32(-8.0)
    steps = np.rint(blocks / np.where(scale != 0.0, scale, np.float32(1.0)))
    steps = np.clip(steps, -8, 7).astype(np.int8) + np.int8(8)
    halves = steps.astype(np.uint8)
    packed = halves[..., 0::2] | (halves[..., 1::2] << 4)
    return np.ascontiguousarray(packed), np.ascontiguousarray(scale[..., 0])


def _nodes(node: onnx.NodeProto, tensor: onnx.TensorProto, form: Form) -> Iterator[onnx.NodeProto]:
    from onnx import helper

    source, target = node.input[0], node.output[0]
    bias = node.input[2] if len(node.input) > 2 else ""
    steps = f"{tensor.name}_{form}"
    if node.op_type == "Conv":
        yield helper.make_node("Transpose", [source], [f"{target}_rows"], perm=[0, 2, 3, 1])
        source, target = f"{target}_rows", f"{target}_sums"
    if form == "int8":
        inputs = [source, steps, f"{steps}_scale", "", bias]
        yield _make("DynamicQuantizeMatMul", inputs, target)
    else:
        outputs, inputs_n = _matrix(node, tensor).shape
        yield _make(
            "MatMulNBits",
            [source, steps, f"{steps}_scale", "", "", bias],
            target,
            K=inputs_n,
            N=outputs,
            bits=4,
            block_size=BLOCK,
            accuracy_level=INT8_ACTIVATIONS,
        )
    if node.op_type == "Conv":
        yield helper.make_node("Transpose", [target], [node.output[0]], perm=[0, 3, 1, 2])


def _make(op_type: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    from onnx import helper

    while not inputs[-1]:
        inputs = inputs[:-1]
    return helper.make_node(op_type, inputs, [output], domain=DOMAIN, **attributes)
