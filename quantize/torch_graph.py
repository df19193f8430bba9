"""An ONNX graph of convolutions as a PyTorch module, for the converter to LiteRT.

Only what encoders of YAMNet's kind are made of; the numbers stay the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge_alm.errors import UsageError, missing_extra

if TYPE_CHECKING:
    import onnx

KNOWN = ("Conv", "Relu", "Clip", "Add", "GlobalAveragePool", "Reshape", "Flatten", "Gemm")


def to_torch(model: onnx.ModelProto) -> Any:
    """A ``torch.nn.Module`` with the graph's input as argument, and its outputs in order.

    The modules of convolutions and matrix products are called ``layer_0``, ``layer_1``, ... in
    the graph's order.

    Raises:
        UsageError: an operator that is not in :data:`KNOWN`, or more than one input.
        MissingExtraError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise missing_extra("export", "torch", str(error)) from error
    from onnx import helper, numpy_helper

    graph = model.graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in arrays]
    unknown = sorted({node.op_type for node in graph.node} - {*KNOWN})
    if unknown or len(inputs) != 1:
        got = f"{', '.join(unknown)}; {len(inputs)} inputs"
        raise UsageError("the graph", expected=f"one input and {', '.join(KNOWN)} alone", got=got)
    outputs = [value.name for value in graph.output]

    class Module(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
        def __init__(self) -> None:
            super().__init__()
            self.steps: list[tuple[str, list[str], str, dict[str, Any], str]] = []
            for node in graph.node:
                attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
                name = ""
                if node.op_type in ("Conv", "Gemm"):
                    name = f"layer_{len([*self.children()])}"
                    weights = [arrays[i] for i in node.input[1:] if i]
                    self.add_module(name, _layer(torch, node.op_type, attributes, weights))
                step = (node.op_type, list(node.input), node.output[0], attributes, name)
                self.steps.append(step)

        def forward(self, value: Any) -> tuple[Any, ...]:
            values = {inputs[0]: value}
            for op_type, sources, target, attributes, name in self.steps:
                source = values[sources[0]]
                if name:
                    pads = attributes.get("pads", (0, 0, 0, 0))
                    if any(pads):
                        sides = (pads[1], pads[3], pads[0], pads[2])
                        source = torch.nn.functional.pad(source, sides)
                    found = getattr(self, name)(source)
                elif op_type == "Relu":
                    found = torch.relu(source)
                elif op_type == "Clip":
                    low, high = (float(arrays[i]) for i in sources[1:3])
                    found = torch.clamp(source, low, high)
                elif op_type == "Add":
                    found = source + values[sources[1]]
                elif op_type == "GlobalAveragePool":
                    found = source.mean((2, 3), keepdim=True)
                else:  # Reshape and Flatten: before a matrix product, to rows
                    found = source.flatten(1)
                values[target] = found
            return tuple(values[name] for name in outputs)

    return Module().eval()


def _layer(torch: Any, op_type: str, attributes: dict[str, Any], weights: list[Any]) -> Any:
    weight, bias = weights[0], weights[1] if len(weights) > 1 else None
    if op_type == "Conv":
        groups = attributes.get("group", 1)
        layer = torch.nn.Conv2d(
            weight.shape[1] * groups,
            weight.shape[0],
            weight.shape[2:],
            stride=tuple(attributes.get("strides", (1, 1))),
            dilation=tuple(attributes.get("dilations", (1, 1))),
            groups=groups,
            bias=bias is not None,
        )
    else:
        weight = weight if attributes.get("transB") else weight.T
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = torch.from_numpy(np.array(weight))
    if bias is not None:
        layer.bias.data = torch.from_numpy(np.array(bias))
    return layer.requires_grad_(False)
