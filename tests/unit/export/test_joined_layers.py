"""An encoder with a wider embedding: the scores stay, the layers are what they are said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_alm.errors import UsageError
from edge_alm.models.onnx_session import open_session
from edge_alm.models.yamnet import EMBEDDING, SCORES
from export.layers import join_layers

CHANNELS = (3, 5, 7)


def write_encoder(path: Path, *, show: bool = False) -> Path:
    """Three layers with YAMNet's names; ``show``: with the layers among the outputs."""
    rng = np.random.default_rng(0)
    nodes, weights, before, given = [], [], 1, "audio"
    for layer, channels in enumerate(CHANNELS, 1):
        kernel = rng.normal(size=(channels, before, 3, 3)).astype(np.float32)
        bias = rng.normal(size=channels).astype(np.float32)
        weights += [numpy_helper.from_array(kernel, f"k{layer}")]
        weights += [numpy_helper.from_array(bias, f"b{layer}")]
        output = f"/model/layer{layer}/pointwise_conv/relu/Relu_output_0"
        nodes.append(helper.make_node("Conv", [given, f"k{layer}", f"b{layer}"], [f"c{layer}"]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [output]))
        before, given = channels, output
    weights.append(numpy_helper.from_array(np.array([-1, before]), "shape"))
    weights.append(
        numpy_helper.from_array(rng.normal(size=(before, 4)).astype(np.float32), "classes")
    )
    nodes.append(helper.make_node("GlobalAveragePool", [given], ["pooled"]))
    nodes.append(helper.make_node("Reshape", ["pooled", "shape"], [EMBEDDING]))
    nodes.append(helper.make_node("MatMul", [EMBEDDING, "classes"], [SCORES]))
    shown = [f"/model/layer{i}/pointwise_conv/relu/Relu_output_0" for i in (1, 2)] if show else []
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, 1, 96, 64])],
        [
            helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, [1, 4]),
            helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, [1, before]),
            *(helper.make_empty_tensor_value_info(name) for name in shown),
        ],
        weights,
    )
    opset = helper.make_opsetid("", 20)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    return path


def test_layers_stand_before_the_embedding(tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "source.onnx")
    width = join_layers(source, tmp_path / "target.onnx", (1, 2))
    assert width == sum(CHANNELS)
    patch = np.random.default_rng(1).normal(size=(1, 1, 96, 64)).astype(np.float32)
    shown = open_session(write_encoder(tmp_path / "shown.onnx", show=True))
    scores, embedding, *layers = shown.run(None, {"audio": patch})
    joined = open_session(tmp_path / "target.onnx")
    assert [output.name for output in joined.get_outputs()] == [SCORES, EMBEDDING]
    assert joined.get_outputs()[1].shape == [1, width]
    new_scores, wide = joined.run(None, {"audio": patch})
    np.testing.assert_allclose(new_scores, scores, rtol=1e-5)
    np.testing.assert_allclose(wide[:, -CHANNELS[-1] :], embedding, rtol=1e-5)
    at = 0
    for layer in layers:
        means = layer.mean(axis=(2, 3))
        scaled = (means - means.mean()) / np.sqrt(means.var() + 1e-5)
        np.testing.assert_allclose(wide[:, at : at + len(scaled[0])], scaled, atol=1e-4)
        at += len(scaled[0])


def test_a_layer_that_is_not_there_is_told(tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "source.onnx")
    with pytest.raises(UsageError, match="a layer 6 of YAMNet"):
        join_layers(source, tmp_path / "target.onnx")
