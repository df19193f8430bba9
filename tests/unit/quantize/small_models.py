"""Models small enough to quantise in a test: an encoder of YAMNet's form, and a Llama."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper, save

CLASSES, WIDTH = 12, 128


def make_encoder(seed: int = 0, wild: float = 1.0) -> ModelProto:
    """Patches [n, 1, 96, 64] to scores and an embedding, by convolutions as YAMNet has them.

    Args:
        seed: of the weights.
        wild: gain of one channel between two layers, and its inverse after it: the network stays
            the same, and a scale for the whole tensor suits nobody else.
    """
    rng = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    nodes = []

    def conv(
        name: str, source: str, shape: tuple[int, ...], stride: int = 1, group: int = 1
    ) -> str:
        scale = np.sqrt(2.0 / np.prod(shape[1:]))
        arrays[f"{name}_w"] = (scale * rng.standard_normal(shape)).astype(np.float32)
        arrays[f"{name}_b"] = (0.1 * rng.standard_normal(shape[0])).astype(np.float32)
        pads = [shape[2] // 2] * 4
        inputs = [source, f"{name}_w", f"{name}_b"]
        sizes: dict[str, Any] = {"strides": [stride, stride], "pads": pads, "group": group}
        nodes.append(helper.make_node("Conv", inputs, [name], name=name, **sizes))
        nodes.append(helper.make_node("Relu", [name], [f"{name}_relu"], name=f"{name}_relu"))
        return f"{name}_relu"

    at = conv("first", "audio", (32, 1, 3, 3), stride=8)
    at = conv("deep_1", at, (32, 1, 3, 3), group=32)
    at = conv("wide_1", at, (WIDTH, 32, 1, 1))
    at = conv("deep_2", at, (WIDTH, 1, 3, 3), stride=2, group=WIDTH)
    at = conv("wide_2", at, (WIDTH, WIDTH, 1, 1))
    at = conv("wide_3", at, (WIDTH, WIDTH, 1, 1))
    arrays["wide_2_w"][0] *= wild
    arrays["wide_2_b"][0] *= wild
    arrays["wide_3_w"][:, 0] /= wild
    arrays["rows"] = np.array([-1, WIDTH], np.int64)
    arrays["classes_w"] = rng.standard_normal((CLASSES, WIDTH)).astype(np.float32)
    arrays["classes_b"] = np.zeros(CLASSES, np.float32)
    last = ["embedding", "classes_w", "classes_b"]
    nodes += [
        helper.make_node("GlobalAveragePool", [at], ["mean"]),
        helper.make_node("Reshape", ["mean", "rows"], ["embedding"]),
        helper.make_node("Gemm", last, ["class_scores"], transB=1),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("class_scores", CLASSES), ("embedding", WIDTH))
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["n", 1, 96, 64])],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    checker.check_model(model)
    return model


def write_encoder(path: Path, seed: int = 0, wild: float = 1.0) -> Path:
    save(make_encoder(seed, wild), path)
    return path


CONTROL = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
LETTERS = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;?!'\"()-[]"


def write_llama(path: Path, width: int = 256, seed: int = 0) -> Path:
    """A random Llama of one layer with a token for each character, in float.

    Rows of 256 are what K types are made for; other widths get another type in their place.
    """
    rng = np.random.default_rng(seed)
    tokens = [*CONTROL, *(f"<0x{i:02X}>" for i in range(256)), *LETTERS]
    kinds = [gguf.TokenType.CONTROL] * len(CONTROL) + [gguf.TokenType.BYTE] * 256
    kinds += [gguf.TokenType.NORMAL] * len(LETTERS)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 4)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-1000.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(4)
    shapes = {
        "token_embd": (len(tokens), width),
        "blk.0.attn_q": (width, width),
        "blk.0.attn_k": (width // 2, width),
        "blk.0.attn_v": (width // 2, width),
        "blk.0.attn_output": (width, width),
        "blk.0.ffn_gate": (width, width),
        "blk.0.ffn_up": (width, width),
        "blk.0.ffn_down": (width, width),
    }
    for name, shape in shapes.items():
        matrix = 0.1 * rng.standard_normal(shape)
        writer.add_tensor(f"{name}.weight", matrix.astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
