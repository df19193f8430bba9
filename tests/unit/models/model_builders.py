"""Small model files, written byte by byte, for the checks to accept and to refuse."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_alm.models.protobuf import write_bytes, write_number

FLOAT, UINT8, INT64 = 1, 2, 7


def onnx_tensor(name: str, dims: Sequence[int], data_type: int, raw: bytes) -> bytes:
    shape = [write_number(1, dim) for dim in dims]
    return write_bytes(
        5, *shape, write_number(2, data_type), write_bytes(8, name), write_bytes(9, raw)
    )


def onnx_external(name: str, dims: Sequence[int], **place: object) -> bytes:
    shape = [write_number(1, dim) for dim in dims]
    pairs = [
        write_bytes(13, write_bytes(1, key), write_bytes(2, str(value)))
        for key, value in place.items()
    ]
    return write_bytes(
        5, *shape, write_number(2, FLOAT), write_bytes(8, name), *pairs, write_number(14, 1)
    )


def onnx_node(op_type: str, inputs: Sequence[str], output: str, **ints: int | list[int]) -> bytes:
    parts = [write_bytes(1, name) for name in inputs]
    parts += [write_bytes(2, output), write_bytes(4, op_type)]
    for name, value in ints.items():
        if isinstance(value, list):
            body = [write_number(8, item) for item in value] + [write_number(20, 7)]
        else:
            body = [write_number(3, value), write_number(20, 2)]
        parts.append(write_bytes(5, write_bytes(1, name), *body))
    return write_bytes(1, *parts)


def onnx_value(number: int, name: str, data_type: int, dims: Sequence[int]) -> bytes:
    shape = write_bytes(2, *(write_bytes(1, write_number(1, dim)) for dim in dims))
    tensor = write_bytes(1, write_number(1, data_type), shape)
    return write_bytes(number, write_bytes(1, name), write_bytes(2, tensor))


def onnx_model(*graph: bytes, ir_version: int = 8) -> bytes:
    opset = write_bytes(8, write_bytes(1, ""), write_number(2, 13))
    return write_number(1, ir_version) + opset + write_bytes(7, *graph, write_bytes(2, "g"))


def small_onnx(*tensors: bytes) -> bytes:
    """y = Gemm(x, w, b) with 3 inputs and 2 outputs."""
    weights = tensors or (
        onnx_tensor("w", [3, 2], FLOAT, np.arange(6, dtype="<f4").tobytes()),
        onnx_tensor("b", [2], FLOAT, np.ones(2, "<f4").tobytes()),
    )
    return onnx_model(
        onnx_node("Gemm", ["x", "w", "b"], "y"),
        *weights,
        onnx_value(11, "x", FLOAT, [1, 3]),
        onnx_value(12, "y", FLOAT, [1, 2]),
    )


def encoder_onnx(width: int = 1024) -> bytes:
    """A graph that gives an embedding, as far as a header goes."""
    return onnx_model(
        onnx_node("Identity", ["audio"], "embedding"),
        onnx_value(11, "audio", FLOAT, [1, width]),
        onnx_value(12, "embedding", FLOAT, [1, width]),
    )


def sentences_onnx(width: int) -> bytes:
    """A graph from ids and mask of 4 tokens to a direction, as far as a header goes."""
    return onnx_model(
        onnx_node("Identity", ["input_ids", "attention_mask"], "embedding"),
        onnx_value(11, "input_ids", INT64, [1, 4]),
        onnx_value(11, "attention_mask", INT64, [1, 4]),
        onnx_value(12, "embedding", FLOAT, [1, width]),
    )


def gguf_text(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def gguf_key(key: str, value: object) -> bytes:
    if isinstance(value, str):
        return gguf_text(key) + struct.pack("<I", 8) + gguf_text(value)
    if isinstance(value, list):
        texts = b"".join(gguf_text(item) for item in value)
        return gguf_text(key) + struct.pack("<IIQ", 9, 8, len(value)) + texts
    if isinstance(value, np.ndarray):
        kind = {"f": 6, "i": 5}[value.dtype.kind]
        return gguf_text(key) + struct.pack("<IIQ", 9, kind, len(value)) + value.tobytes()
    return gguf_text(key) + struct.pack("<II", 4, value)


def gguf_tensor(name: str, shape: Sequence[int], kind: int, offset: int) -> bytes:
    head = gguf_text(name) + struct.pack("<I", len(shape))
    return head + struct.pack(f"<{len(shape)}QIQ", *shape, kind, offset)


GGUF_KEYS: dict[str, object] = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "llama.context_length": 512,
    "llama.embedding_length": 32,
    "llama.attention.head_count": 4,
    "tokenizer.ggml.tokens": ["a", "b", "c"],
    "tokenizer.ggml.scores": np.zeros(3, "<f4"),
    "tokenizer.ggml.token_type": np.ones(3, "<i4"),
}
GGUF_TENSORS = (("token_embd.weight", (32, 3), 0, 0), ("output_norm.weight", (32,), 0, 384))


def gguf_file(
    keys: dict[str, object] | None = None,
    tensors: Sequence[tuple[str, Sequence[int], int, int]] = GGUF_TENSORS,
    *,
    version: int = 3,
    data_bytes: int = 512,
) -> bytes:
    """A GGUF of two float tensors, 32 wide; keys given replace or add to GGUF_KEYS."""
    pairs = {**GGUF_KEYS, **(keys or {})}
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    head += b"".join(gguf_key(key, value) for key, value in pairs.items())
    head += b"".join(gguf_tensor(*tensor) for tensor in tensors)
    return head + b"\0" * (-len(head) % 32) + b"\0" * data_bytes


def ctranslate2_weights(size_bytes: int = 24, shape: Sequence[int] = (2, 3)) -> bytes:
    def name(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    head = struct.pack("<I", 6) + name("WhisperSpec") + struct.pack("<II", 3, 1)
    variable = name("w") + struct.pack("<B", len(shape)) + struct.pack(f"<{len(shape)}I", *shape)
    variable += struct.pack("<BI", 0, size_bytes) + b"\0" * 24
    return head + variable + struct.pack("<I", 1) + name("alias") + name("w")


def write_ctranslate2(folder: Path, weights: bytes | None = None, config: object = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config if config is not None else {}))
    (folder / "model.bin").write_bytes(ctranslate2_weights() if weights is None else weights)
    return folder


def write_projector(
    path: Path, inputs: int = 1028, hidden: int = 4, outputs: int = 32, **change: object
) -> Path:
    arrays: dict[str, object] = {
        "ln_weight": np.ones(inputs, np.float32),
        "ln_bias": np.zeros(inputs, np.float32),
        "w1": np.zeros((hidden, inputs), np.float16),
        "b1": np.zeros(hidden, np.float16),
        "w2": np.zeros((outputs, hidden), np.float16),
        "b2": np.zeros(outputs, np.float16),
    }
    arrays.update(change)
    kept = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    np.savez(path, **kept)  # type: ignore[arg-type]
    return path
