"""Folders in sherpa-onnx's form whose models tell a low tone from a high one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

TOKENS = "▁low 0\n▁high 1\n<blk> 2\n"
_WINDOW_FRAMES = 10
_LOUD = -5.0
"""The logarithm of a band's energy above which something sounds."""


def write_graph(path: Path, *inputs: str, **metadata: object) -> Path:
    """A graph that hands its inputs on, with notes."""
    from onnx import TensorProto, helper, save

    names = inputs or ("x", "x_lens")
    inner, outer = (
        [helper.make_tensor_value_info(f"{name}{end}", TensorProto.FLOAT, [1]) for name in names]
        for end in ("", "_out")
    )
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in names]
    graph = helper.make_graph(nodes, "g", inner, outer)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
    save(model, str(path))
    return path


def write_tones(folder: Path, *, streaming: bool, tokens: str = TOKENS, **metadata: object) -> Path:
    """A CTC model in the form of NeMo's: "low" for a sound under 1.5 kHz, "high" for one above.

    Args:
        folder: made if it is not there.
        streaming: with the caches of a streaming model, which it hands on as they are.
        tokens: of ``tokens.txt``.
        metadata: in place of the right one; None leaves a key out.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    frames: int | str = _WINDOW_FRAMES if streaming else "frames"

    def constant(name: str, values: object) -> Any:
        return numpy_helper.from_array(np.asarray(values), name)

    def value(name: str, kind: int, shape: list[int | str]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    caches = ["cache_last_channel", "cache_last_time"] if streaming else []
    nodes = [
        helper.make_node("Transpose", ["audio_signal"], ["bands"], perm=[0, 2, 1]),
        helper.make_node("Slice", ["bands", "from_low", "to_low", "axis"], ["low_bands"]),
        helper.make_node("Slice", ["bands", "from_high", "to_high", "axis"], ["high_bands"]),
        helper.make_node("ReduceMax", ["low_bands"], ["low"], axes=[2], keepdims=1),
        helper.make_node("ReduceMax", ["high_bands"], ["high"], axes=[2], keepdims=1),
        helper.make_node("Mul", ["low", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "loud"], ["blank"]),
        helper.make_node("Concat", ["low", "high", "blank"], ["logits"], axis=2),
        helper.make_node("LogSoftmax", ["logits"], ["logprobs"], axis=2),
    ]
    inputs = [
        value("audio_signal", TensorProto.FLOAT, [1, 80, frames]),
        value("length", TensorProto.INT64, [1]),
    ]
    outputs = [value("logprobs", TensorProto.FLOAT, [1, frames, 3])]
    if streaming:
        nodes.append(helper.make_node("Identity", ["length"], ["encoded_lengths"]))
        outputs.append(value("encoded_lengths", TensorProto.INT64, [1]))
        for name in caches:
            inputs.append(value(name, TensorProto.FLOAT, [1, 1, 1, 1]))
            outputs.append(value(f"{name}_next", TensorProto.FLOAT, [1, 1, 1, 1]))
            nodes.append(helper.make_node("Identity", [name], [f"{name}_next"]))
        inputs.append(value("cache_last_channel_len", TensorProto.INT64, [1]))
        outputs.append(value("cache_last_channel_next_len", TensorProto.INT64, [1]))
        last = ["cache_last_channel_len"], ["cache_last_channel_next_len"]
        nodes.append(helper.make_node("Identity", *last))
    weights = [
        constant("from_low", np.array([0], np.int64)),
        constant("to_low", np.array([32], np.int64)),
        constant("from_high", np.array([40], np.int64)),
        constant("to_high", np.array([80], np.int64)),
        constant("axis", np.array([2], np.int64)),
        constant("nothing", np.array(0.0, np.float32)),
        constant("loud", np.array(_LOUD, np.float32)),
    ]
    graph = helper.make_graph(nodes, "tones", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    noted: dict[str, object] = {
        "model_type": "EncDecCTCModelBPE",
        "vocab_size": 2,
        "subsampling_factor": 1,
        "normalize_type": "",
    }
    if streaming:
        noted |= {"window_size": _WINDOW_FRAMES, "chunk_shift": _WINDOW_FRAMES}
        noted |= {f"{name}_dim{i}": 1 for name in caches for i in (1, 2, 3)}
    noted |= metadata
    props = {key: str(text) for key, text in noted.items() if text is not None}
    helper.set_model_props(model, props)
    folder.mkdir(parents=True, exist_ok=True)
    save(model, str(folder / "model.onnx"))
    (folder / "tokens.txt").write_text(tokens, encoding="utf-8")
    return folder
