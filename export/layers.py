"""An encoder whose embedding joins several of its layers.

    python -m export.layers build/yamnet_int8.onnx build/yamnet_layers.onnx

GAMA (arXiv:2406.11768) aggregates middle and last layers of its encoder, as middle ones know more
of what a sound is like than of what it is. Here the means over time and frequency of some of
YAMNet's layers stand before the embedding as it was; all else in the file stays. The scores
are the same. For export.ablations.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_alm.errors import UsageError
from edge_alm.models.yamnet import EMBEDDING

LAYERS = (6, 9, 12)
"""256 + 512 + 512 channels; of 14, the last of which is the embedding."""


def join_layers(source: Path, target: Path, layers: Sequence[int] = LAYERS) -> int:
    """Write ``source`` with a wider embedding to ``target``; returns the width.

    Args:
        source: an ONNX file as :func:`edge_alm.models.yamnet.prepare` writes it.
        target: the file to write.
        layers: numbers of the layers, each brought to mean 0 and variance 1: the layers' ranges
            differ a hundredfold.

    Raises:
        UsageError: no such layer in the file.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(source)
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    last = f"last_{EMBEDDING}"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [last if name == EMBEDDING else name for name in names]
    (embedding,) = (output for output in graph.output if output.name == EMBEDDING)
    joined, width = [], embedding.type.tensor_type.shape.dim[-1].dim_value
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    for layer in layers:
        output = f"/model/layer{layer}/pointwise_conv/relu/Relu_output_0"
        if output not in made:
            raise UsageError(str(source), expected=f"a layer {layer} of YAMNet", got="none")
        _, _, bias = made[made[output].input[0]].input
        (channels,) = shapes[bias]
        name = f"layer{layer}"
        axes, ones = f"{name}_axes", f"{name}_ones"
        graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), axes))
        graph.initializer.append(numpy_helper.from_array(np.ones(channels, np.float32), ones))
        mean = helper.make_node("ReduceMean", [output, axes], [f"{name}_mean"], keepdims=0)
        scaled = helper.make_node("LayerNormalization", [f"{name}_mean", ones], [f"{name}_scaled"])
        graph.node.extend([mean, scaled])
        joined.append(f"{name}_scaled")
        width += channels
    graph.node.append(helper.make_node("Concat", [*joined, last], [EMBEDDING], axis=1))
    embedding.CopyFrom(helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, [1, width]))
    onnx.checker.check_model(model)
    target.write_bytes(model.SerializeToString(deterministic=True))
    return int(width)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="python -m export.layers")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS)
    args = parser.parse_args()
    try:
        width = join_layers(args.source, args.target, args.layers)
    except UsageError as error:
        raise SystemExit(f"layers: {error}") from error
    print(f"{args.target}: embeddings of {width} values")


if __name__ == "__main__":
    main()
